// auth: who may, may, and who may not is told why, side by side under a steady rate: nobody gets
// another's verdict. Refusals do not reach the service.
//
//   make demo                                          # in another terminal; set its four tokens:
//   export READER=... WRITER=... EXPIRED=... SUSPENDED=...
//   k6 run loadtest/k6/auth.js
//
//   RATE       refusals of each kind a second (default 20); admitted come at 5 a second
//   SECONDS    how long (default 15)
//
// The demo allows a user 1000 orders an hour, and READER and WRITER are one user: a run of 15
// seconds takes 75 of them, refusals none.

import exec from 'k6/execution';
import {
  EXPIRED,
  READER,
  SUSPENDED,
  WRITER,
  atRate,
  get,
  isProblem,
  isStatus,
  need,
  number,
  optionsOf,
  post,
} from './shared.js';

need({ READER, WRITER, EXPIRED, SUSPENDED });

const RATE = number('RATE', 20);
const SECONDS = number('SECONDS', 15);
const ADMITTED_RATE = 5;
const ORDER = { item: 'lamp' };

// A token whose signature was made for other claims: the same but for one character in them.
const [HEAD, CLAIMS, SIGNATURE] = READER.split('.');
const middle = Math.floor(CLAIMS.length / 2);
const other = CLAIMS[middle] === 'A' ? 'B' : 'A';
const FORGED = [HEAD, CLAIMS.slice(0, middle) + other + CLAIMS.slice(middle + 1), SIGNATURE].join(
  '.',
);

const REFUSED = [
  () => isProblem(orders('missing', 401, ''), 401, 'auth.credentials_missing'),
  () => isProblem(orders('malformed', 401, 'not.a.token'), 401, 'auth.token_malformed'),
  () => isProblem(orders('expired', 401, EXPIRED), 401, 'auth.token_expired'),
  () => isStatus(orders('forged', 401, FORGED), 401),
  () => isProblem(orders('suspended', 403, SUSPENDED), 403, 'auth.tenant_refused'),
  () => {
    const response = post('/v1/orders', ORDER, { name: 'scope', expected: [403], token: READER });
    isProblem(response, 403, 'auth.scope_insufficient');
  },
];

export const options = optionsOf(
  {
    scenarios: {
      refused: atRate(RATE * REFUSED.length, SECONDS, { exec: 'refused' }),
      admitted: atRate(ADMITTED_RATE, SECONDS, { exec: 'admitted' }),
    },
  },
  {
    'http_req_duration{scenario:refused}': ['p(95)<20', 'p(99)<50'],
    'http_req_duration{scenario:admitted}': ['p(95)<20', 'p(99)<50'],
  },
);

export function refused() {
  REFUSED[exec.scenario.iterationInTest % REFUSED.length]();
}

export function admitted() {
  if (exec.scenario.iterationInTest % 2 === 0) {
    isStatus(get('/v1/orders', { name: 'read', token: READER }), 200);
    return;
  }
  isStatus(post('/v1/orders', ORDER, { name: 'write', token: WRITER }), 200);
}

function orders(name, status, token) {
  return get('/v1/orders', { name, expected: [status], token });
}
