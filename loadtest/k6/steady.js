// steady: latency at a constant arrival rate, of the cached route and of one that asks for a
// token.
//
//   make demo                                          # in another terminal
//   k6 run loadtest/k6/steady.js
//   RATE=2000 SECONDS=120 READER=... k6 run loadtest/k6/steady.js
//
//   RATE       requests a second of the cached route (default 300)
//   SECONDS    how long (default 20)
//   P95, P99   budgets in milliseconds (default 10 and 30: a laptop that runs everything)
//
// With READER, orders are asked for beside it: at 5 a second, because the demo allows a user 1000
// an hour. One token is good for 200 seconds of that within the hour.

import { READER, atRate, get, isStatus, number, optionsOf } from './shared.js';

const RATE = number('RATE', 300);
const SECONDS = number('SECONDS', 20);
const ORDERS_RATE = 5;
const BUDGET = [`p(95)<${number('P95', 10)}`, `p(99)<${number('P99', 30)}`];

// Targets of the cached route: after each was asked for once, the cache answers.
const TARGETS = 100;

const scenarios = { catalog: atRate(RATE, SECONDS, { exec: 'catalog' }) };
const thresholds = { 'http_req_duration{scenario:catalog}': BUDGET };
if (READER) {
  scenarios.orders = atRate(ORDERS_RATE, SECONDS, { exec: 'orders' });
  thresholds['http_req_duration{scenario:orders}'] = BUDGET;
}

export const options = optionsOf({ scenarios }, thresholds);

export function catalog() {
  const n = Math.floor(Math.random() * TARGETS);
  isStatus(get(`/v1/catalog/lamps?n=${n}&cc=max-age%3D60`, { name: 'catalog' }), 200);
}

export function orders() {
  isStatus(get('/v1/orders', { name: 'orders', token: READER }), 200);
}
