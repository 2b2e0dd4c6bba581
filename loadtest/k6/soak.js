// soak: the same load for long. Latency at the end is what it was at the beginning. Two minutes by
// default, because a script should end by itself; for a real soak give it hours.
//
//   make demo                                          # in another terminal
//   k6 run loadtest/k6/soak.js
//   SECONDS=7200 k6 run loadtest/k6/soak.js
//
//   RATE       requests a second (default 200)
//   SECONDS    how long (default 120); the first and the last tenth are compared
//   P99        budget in milliseconds (default 30)
//
// Half of the targets never came before, so that what is kept for each of them would be seen;
// the rest is asked for again and again. One in fifty is refused. Watch the gateway's memory
// beside it: `make loadtest SCENARIOS=soak` does.

import { atRate, get, isProblem, isStatus, number, optionsOf } from './shared.js';

const RATE = number('RATE', 200);
const SECONDS = number('SECONDS', 120);
const P99 = number('P99', 30);
const PART = Math.max(1, Math.floor(SECONDS / 10));

export const options = optionsOf(
  {
    scenarios: {
      first: atRate(RATE, PART),
      middle: atRate(RATE, Math.max(1, SECONDS - 2 * PART), { start: PART }),
      last: atRate(RATE, PART, { start: SECONDS - PART }),
    },
  },
  {
    'http_req_duration{scenario:first}': [`p(99)<${P99}`],
    'http_req_duration{scenario:middle}': [`p(99)<${P99}`],
    'http_req_duration{scenario:last}': [`p(99)<${P99}`],
  },
);

export default function () {
  const n = Math.floor(Math.random() * 100);
  if (n < 2) {
    const refused = get('/v1/orders', { name: 'refused', expected: [401] });
    isProblem(refused, 401, 'auth.credentials_missing');
    return;
  }
  const target = n < 50 ? `new=${__VU}-${__ITER}-${Date.now()}` : `n=${n}`;
  isStatus(get(`/v1/catalog/soak?${target}&cc=max-age%3D60`, { name: 'catalog' }), 200);
}
