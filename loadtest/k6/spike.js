// spike: ten times the load from one second to the next, and back. Nothing fails, nobody waits
// for long while it lasts, and afterwards all is as before.
//
//   make demo                                          # in another terminal
//   k6 run loadtest/k6/spike.js
//
//   RATE       requests a second before and after (default 50)
//   FACTOR     how many times that the spike is (default 10)
//   SECONDS    how long each of the three parts takes (default 6)
//   P99        budget of the spike in milliseconds (default 100)
//
// Half of the requests are answered from the cache, half by the service.

import { atRate, get, isStatus, number, optionsOf } from './shared.js';

const RATE = number('RATE', 50);
const FACTOR = number('FACTOR', 10);
const SECONDS = number('SECONDS', 6);
const P99 = number('P99', 100);

export const options = optionsOf(
  {
    scenarios: {
      before: atRate(RATE, SECONDS),
      spike: atRate(RATE * FACTOR, SECONDS, { start: SECONDS }),
      // A second for what the spike left behind.
      after: atRate(RATE, SECONDS, { start: 2 * SECONDS + 1 }),
    },
  },
  {
    'http_req_duration{scenario:before}': ['p(99)<50'],
    'http_req_duration{scenario:spike}': [`p(99)<${P99}`],
    'http_req_duration{scenario:after}': ['p(99)<50'],
  },
);

export default function () {
  const n = Math.floor(Math.random() * 100);
  const cache = n % 2 === 0 ? 'max-age%3D60' : 'no-store';
  isStatus(get(`/v1/catalog/spike?n=${n}&cc=${cache}`, { name: 'catalog' }), 200);
}
