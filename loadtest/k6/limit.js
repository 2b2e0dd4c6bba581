// limit: the limit of the demo's search holds under a steady rate far above it, says so
// correctly, and refusing is fast. The limit is 5 at once, then one every ten seconds, for each
// client address (conf/demo.yaml, search-by-address).
//
//   make demo                                          # in another terminal
//   k6 run loadtest/k6/limit.js
//
//   RATE       searches a second (default 50)
//   SECONDS    how long (default 20)
//
// Run one at a time: a second k6 on this address would share the bucket. Searches before the run
// only lower what is admitted, which the thresholds allow.

import { check } from 'k6';
import { Counter } from 'k6/metrics';
import { atRate, get, header, isProblem, number, optionsOf } from './shared.js';

const RATE = number('RATE', 50);
const SECONDS = number('SECONDS', 20);
const CAPACITY = 5;
const REFILL_PER_SECOND = 0.1;

// What may be admitted at most: a full bucket, what flows in, and one token for the moment
// between the gateway's first decision and k6's first count. At least: what flows in, whatever
// was in the bucket.
const ADMITTED_MAX = Math.floor(CAPACITY + SECONDS * REFILL_PER_SECOND + 1);
const ADMITTED_MIN = Math.max(0, Math.floor(SECONDS * REFILL_PER_SECOND) - 1);

const admitted = new Counter('limit_admitted');
const refused = new Counter('limit_refused');

export const options = optionsOf(
  { scenarios: { search: atRate(RATE, SECONDS) } },
  {
    limit_admitted: [`count>=${ADMITTED_MIN}`, `count<=${ADMITTED_MAX}`],
    limit_refused: [`count>=${SECONDS * RATE - ADMITTED_MAX - 1}`],
    http_req_duration: ['p(95)<20', 'p(99)<50'],
  },
);

export default function () {
  const response = get('/v1/search?q=lamp', { name: 'search', expected: [200, 429] });
  check(response, {
    'the limit is told': (r) => header(r, 'x-ratelimit-limit') === String(CAPACITY),
    'what is left is told': (r) => /^[0-9]+$/.test(header(r, 'x-ratelimit-remaining') || ''),
  });
  if (response.status === 200) {
    admitted.add(1);
    return;
  }
  refused.add(1);
  isProblem(response, 429, 'limit.exceeded');
  // One token flows in every ten seconds, so nobody is told to wait longer.
  const wait = Number(header(response, 'retry-after'));
  check(wait, { 'Retry-After is 1 to 10 seconds': (w) => w >= 1 && w <= 10 });
}
