// upgrade: not one request fails while the gateway is replaced by another process, again and
// again. This script is only the load; `make loadtest SCENARIOS=upgrade` runs it and upgrades a
// gateway meanwhile. By hand:
//
//   k6 run loadtest/k6/upgrade.js &                    # then, as docs/operations.md says:
//   tidegate check FILE && tidegate upgrade FILE
//
//   RATE       requests a second (default 200): half on kept connections, half on new ones
//   SECONDS    how long (default 30)
//   P99        budget in milliseconds of what is not slow by itself, with the time that a new
//              connection takes (default 500)
//
// Beside them, five requests a second that take a second, so that some are always under way when
// a process goes; and with WRITER, five orders a second by POST. Those matter most: k6 sends a
// GET again by itself when a kept connection turns out to be closed, as many clients do, but a
// POST never.

import exec from 'k6/execution';
import { WRITER, atRate, get, isStatus, number, optionsOf, post } from './shared.js';

const RATE = number('RATE', 200);
const SECONDS = number('SECONDS', 30);
const BUDGET = [`p(99)<${number('P99', 500)}`];
const BESIDE_RATE = 5;

const scenarios = {
  mixed: atRate(RATE, SECONDS, { exec: 'mixed' }),
  slow: atRate(BESIDE_RATE, SECONDS, { exec: 'slow' }),
};
const thresholds = { 'iteration_duration{scenario:mixed}': BUDGET };
if (WRITER) {
  scenarios.orders = atRate(BESIDE_RATE, SECONDS, { exec: 'orders' });
  thresholds['iteration_duration{scenario:orders}'] = BUDGET;
}

export const options = optionsOf({ scenarios }, thresholds);

export function mixed() {
  const close = exec.scenario.iterationInTest % 2 === 1;
  const name = close ? 'new connection' : 'kept connection';
  isStatus(get('/v1/catalog/lamps?cc=no-store', { name, close }), 200);
}

export function slow() {
  isStatus(get('/v1/catalog/delay/1000?cc=no-store', { name: 'slow' }), 200);
}

export function orders() {
  isStatus(post('/v1/orders', { item: 'lamp' }, { name: 'order', token: WRITER }), 200);
}
