// rate: latency at a constant arrival rate. Requests come when they are due, whether or not
// earlier ones have been answered, so that a stall shows in the percentiles instead of slowing
// the load down (no coordinated omission).
//
//   make demo                                          # in another terminal
//   k6 run loadtest/k6/rate.js
//   RATE=2000 DURATION=2m TOKEN=$READER k6 run loadtest/k6/rate.js
//
//   RATE       requests a second of the cached route (default 500)
//   DURATION   how long, in whole seconds or minutes: 30s, 2m (default 30s)
//   P95, P99   budgets in milliseconds (default 10 and 30: a laptop that runs everything)
//
// With TOKEN, orders are asked for beside it: at 5 a second, because the demo allows a user 1000
// an hour. One token is good for 200 seconds of that within the hour.

import { check } from 'k6';
import { TOKEN, get, summaryTrendStats } from './shared.js';

const RATE = Number(__ENV.RATE || 500);
const DURATION = __ENV.DURATION || '30s';
const P95 = Number(__ENV.P95 || 10);
const P99 = Number(__ENV.P99 || 30);
const ORDERS_RATE = 5;

// Targets of the cached route: after each was asked for once, the cache answers.
const TARGETS = 100;

const scenarios = {
  catalog: {
    executor: 'constant-arrival-rate',
    exec: 'catalog',
    rate: RATE,
    timeUnit: '1s',
    duration: DURATION,
    preAllocatedVUs: 50,
    maxVUs: 500,
  },
};
if (TOKEN) {
  scenarios.orders = {
    executor: 'constant-arrival-rate',
    exec: 'orders',
    rate: ORDERS_RATE,
    timeUnit: '1s',
    duration: DURATION,
    preAllocatedVUs: 5,
    maxVUs: 50,
  };
}

const thresholds = {
  checks: ['rate==1'],
  http_req_failed: ['rate==0'],
  // A request that could not be sent on time was not measured: the run proves nothing then.
  dropped_iterations: ['count==0'],
};
for (const scenario of Object.keys(scenarios)) {
  thresholds[`http_req_duration{scenario:${scenario}}`] = [`p(95)<${P95}`, `p(99)<${P99}`];
}

export const options = { scenarios, thresholds, summaryTrendStats };

export function catalog() {
  const n = Math.floor(Math.random() * TARGETS);
  const response = get(`/v1/catalog/lamps?n=${n}&cc=max-age%3D60`, { name: 'catalog' });
  check(response, { 'catalog answers': (r) => r.status === 200 });
}

export function orders() {
  const response = get('/v1/orders', { name: 'orders', token: TOKEN });
  check(response, { 'orders answers': (r) => r.status === 200 });
}
