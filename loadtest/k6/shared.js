// What the scripts share: where the gateway is, who asks, how load is described, and what a
// refusal must look like. Each script states what it asks of the demo (`make demo`) and the
// settings that it takes besides these:
//
//   BASE_URL   the gateway (default http://127.0.0.1:8080)
//   READER     a token with the scope orders:read
//   WRITER     a token with orders:read and orders:write
//   EXPIRED, SUSPENDED   a token that has expired, a token of a suspended tenant
//
// `make demo` prints the tokens under these names. `make loadtest` sets all of them.

import http from 'k6/http';
import { check } from 'k6';

export const BASE_URL = __ENV.BASE_URL || 'http://127.0.0.1:8080';
export const READER = __ENV.READER || '';
export const WRITER = __ENV.WRITER || '';
export const EXPIRED = __ENV.EXPIRED || '';
export const SUSPENDED = __ENV.SUSPENDED || '';

// A setting that is a number, from the environment.
export function number(name, otherwise) {
  const value = Number(__ENV[name] || otherwise);
  if (!(value > 0)) {
    throw new Error(`${name}=${__ENV[name]} is not a number above 0`);
  }
  return value;
}

// Stops a script that proves nothing without a token.
export function need(tokens) {
  for (const name of Object.keys(tokens)) {
    if (!tokens[name]) {
      throw new Error(`${name} is not set: \`make demo\` prints the tokens`);
    }
  }
}

// Requests that are due at a constant rate, whether or not earlier ones were answered: a stall
// shows in the percentiles instead of slowing the load down (no coordinated omission).
export function atRate(rate, seconds, { exec = 'default', start = 0 } = {}) {
  return {
    executor: 'constant-arrival-rate',
    exec,
    rate,
    timeUnit: '1s',
    duration: `${seconds}s`,
    startTime: `${start}s`,
    // Enough for a stall of a quarter of a second; making more takes k6 too long to be in time.
    preAllocatedVUs: Math.ceil(Math.min(20 + rate / 4, 300)),
    maxVUs: 500,
  };
}

// Options of a run: its scenarios and thresholds, and what holds for all runs.
export function optionsOf(load, thresholds) {
  return Object.assign({}, load, {
    // Averages hide what callers feel.
    summaryTrendStats: ['min', 'med', 'p(90)', 'p(95)', 'p(99)', 'p(99.9)', 'max', 'count'],
    // Without `url`, which would make a metric of each target.
    systemTags: ['status', 'method', 'name', 'scenario', 'expected_response', 'error_code'],
    thresholds: Object.assign(
      {
        checks: ['rate==1'],
        http_req_failed: ['rate==0'],
        // A request that could not be sent when it was due was not measured: the run proves
        // nothing then.
        dropped_iterations: ['count==0'],
      },
      thresholds,
    ),
  });
}

// Sends a GET. `expected` are the statuses that are no failure; `name` groups requests of one
// kind. `close` asks for a connection of its own.
export function get(target, { name, expected = [200], headers = {}, token = '', close = false }) {
  return http.get(`${BASE_URL}${target}`, parameters({ name, expected, headers, token, close }));
}

// Sends a POST with a JSON document; otherwise as `get`.
export function post(target, value, { name, expected = [200], token = '', close = false }) {
  const headers = { 'Content-Type': 'application/json' };
  const body = JSON.stringify(value);
  return http.post(
    `${BASE_URL}${target}`,
    body,
    parameters({ name, expected, headers, token, close }),
  );
}

function parameters({ name, expected, headers, token, close }) {
  const sent = Object.assign({}, headers);
  if (token) {
    sent.Authorization = `Bearer ${token}`;
  }
  if (close) {
    sent.Connection = 'close';
  }
  return { headers: sent, tags: { name }, responseCallback: http.expectedStatuses(...expected) };
}

// A header of an answer, whatever the case of its name; undefined where there is none.
export function header(response, name) {
  const wanted = name.toLowerCase();
  const found = Object.keys(response.headers).find((key) => key.toLowerCase() === wanted);
  return found === undefined ? undefined : response.headers[found];
}

// Whether an answer has a status.
export function isStatus(response, status) {
  return check(response, { [`${status}`]: (r) => r.status === status });
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
