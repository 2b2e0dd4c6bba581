// cache: the service is asked once for each target, however many ask at once; everybody else is
// answered from the cache, with an age; and what may not be kept is asked for each time.
//
//   make demo                                          # in another terminal
//   k6 run loadtest/k6/cache.js
//
//   RATE       requests a second of what is kept (default 200)
//   SECONDS    how long (default 15, at most 50: answers are good for 60)

import { check } from 'k6';
import { Counter, Trend } from 'k6/metrics';
import { atRate, get, header, isStatus, number, optionsOf } from './shared.js';

const RATE = number('RATE', 200);
const SECONDS = Math.min(50, number('SECONDS', 15));

// Few, so that many ask for the same one at once.
const TARGETS = 20;
const FRESH_RATE = 20;

const misses = new Counter('cache_misses');
const hits = new Counter('cache_hits');
const hitDuration = new Trend('cache_hit_duration', true);

export const options = optionsOf(
  {
    scenarios: {
      kept: atRate(RATE, SECONDS, { exec: 'kept' }),
      fresh: atRate(FRESH_RATE, SECONDS, { exec: 'fresh' }),
    },
  },
  {
    cache_misses: [`count<=${TARGETS}`],
    cache_hits: [`count>=${RATE * SECONDS - TARGETS - 1}`],
    cache_hit_duration: ['p(95)<10', 'p(99)<30'],
    http_req_duration: ['p(95)<20', 'p(99)<50'],
  },
);

// Targets of this run alone, so that an earlier run has kept none of them.
export function setup() {
  return { run: Date.now() };
}

export function kept({ run }) {
  const n = Math.floor(Math.random() * TARGETS);
  const response = get(`/v1/catalog/lamps?run=${run}&n=${n}&cc=max-age%3D60`, { name: 'kept' });
  isStatus(response, 200);
  if (header(response, 'x-cache') === 'HIT') {
    hits.add(1);
    hitDuration.add(response.timings.duration);
    check(response, { 'a hit has an age': (r) => /^[0-9]+$/.test(header(r, 'age') || '') });
    return;
  }
  misses.add(1);
}

export function fresh({ run }) {
  const response = get(`/v1/catalog/lamps?run=${run}&cc=no-store`, { name: 'fresh' });
  check(response, {
    'no-store is answered by the service': (r) =>
      r.status === 200 && header(r, 'x-cache') !== 'HIT',
  });
}
