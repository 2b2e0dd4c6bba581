// smoke: does every kind of answer of the demo come, and soon enough? One caller, seconds.
//
//   make demo                                          # in another terminal
//   k6 run loadtest/k6/smoke.js
//   READER=... k6 run loadtest/k6/smoke.js             # the routes that ask for a token, too

import { check, group } from 'k6';
import { READER, get, header, isProblem, optionsOf } from './shared.js';

export const options = optionsOf(
  { vus: 1, iterations: 20 },
  { http_req_duration: ['p(95)<50', 'p(99)<200'] },
);

export default function () {
  group('cache', () => {
    // A target of its own for each round: the first request misses, the second hits.
    const target = `/v1/catalog/lamps?round=${__ITER}-${Date.now()}&cc=max-age%3D60`;
    const first = get(target, { name: 'catalog' });
    const second = get(target, { name: 'catalog' });
    check(first, { 'first is a MISS': (r) => header(r, 'x-cache') === 'MISS' });
    check(second, {
      'second is a HIT': (r) => header(r, 'x-cache') === 'HIT',
      'both have one body': (r) => r.body === first.body,
    });
  });

  group('refusals', () => {
    isProblem(
      get('/v1/orders', { name: 'no token', expected: [401] }),
      401,
      'auth.credentials_missing',
    );
    isProblem(
      get('/v1/orders', { name: 'bad token', expected: [401], token: 'not.a.token' }),
      401,
      'auth.token_malformed',
    );
    isProblem(get('/v2/orders', { name: 'no route', expected: [404] }), 404, 'route.not_found');
  });

  if (READER) {
    group('token', () => {
      const response = get('/v1/orders', { name: 'orders', token: READER });
      check(response, {
        'orders answers': (r) => r.status === 200,
        'the quota is told': (r) => Boolean(header(r, 'x-ratelimit-remaining')),
      });
    });
  }
}
