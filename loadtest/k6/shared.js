// What the scripts share: where the demo runs, who asks, and what a refusal must look like.
//
//   BASE_URL   the gateway (default http://127.0.0.1:8080)
//   TOKEN      a token with the scope orders:read: `READER` of those that `make demo` prints

import http from 'k6/http';
import { check } from 'k6';

export const BASE_URL = __ENV.BASE_URL || 'http://127.0.0.1:8080';
export const TOKEN = __ENV.TOKEN || '';

// Percentiles that are reported: averages hide what callers feel.
export const summaryTrendStats = ['min', 'med', 'p(95)', 'p(99)', 'p(99.9)', 'max', 'count'];

// Sends a GET. `expected` are the statuses that are no failure; `name` groups requests of one
// kind, so that targets with numbers in them do not become a metric each.
export function get(target, { name, expected = [200], headers = {}, token = '' }) {
  const sent = Object.assign({}, headers);
  if (token) {
    sent.Authorization = `Bearer ${token}`;
  }
  return http.get(`${BASE_URL}${target}`, {
    headers: sent,
    tags: { name },
    responseCallback: http.expectedStatuses(...expected),
  });
}

// Header names as k6 has them: canonical form, whatever was sent.
export function header(response, name) {
  const wanted = name.toLowerCase();
  const found = Object.keys(response.headers).find((key) => key.toLowerCase() === wanted);
  return found === undefined ? undefined : response.headers[found];
}

// Every refusal is a problem document (RFC 9457) with the code of the fault table.
export function isProblem(response, status, code) {
  return check(response, {
    [`${status} ${code}`]: (r) => r.status === status && problem(r).code === code,
    [`${status} is problem+json`]: (r) =>
      (header(r, 'content-type') || '').startsWith('application/problem+json'),
    [`${status} has a request id`]: (r) => Boolean(problem(r).request_id),
  });
}

function problem(response) {
  try {
    return response.json() || {};
  } catch (_) {
    return {};
  }
}
