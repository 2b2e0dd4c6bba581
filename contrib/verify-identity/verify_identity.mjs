// Verifies Tidegate's signature over identity headers (RFC 9421, HMAC-SHA256).
//
// Needs Node 18 and nothing else. Call verify() before you trust any identity header. As a
// program it reads requests as JSON, one on each line, and writes "ok" or why not, line by line.

import { createHmac, timingSafeEqual } from "node:crypto";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

// Exactly what the gateway writes; whatever else could be a signature is not the gateway's.
const INPUT = new RegExp(
  '^tidegate=(\\("@method" "@path" "@query" "x-request-id"((?: "[^"\\\\]+")*)\\)' +
    ';created=([0-9]{1,12});keyid="([A-Za-z0-9._-]{1,64})";alg="hmac-sha256")$',
);
const SIGNATURE = /^tidegate=:([A-Za-z0-9+/]{43}=):$/;
const FUTURE_SECONDS = 5;

// Some servers cannot tell "_" from "-", so neither does this.
const fold = (name) => name.toLowerCase().replaceAll("_", "-");

/**
 * Returns null where the request is the gateway's, else why it is not.
 *
 * path and query are those of the request line, not decoded; query is without "?", null where
 * there is none. headers is a list of [name, value] as received (req.rawHeaders has them, in
 * pairs; req.headers would hide repeated ones). now is Unix seconds. keys maps key ids to
 * secrets; during rotation it has two. stripped is the list of headers that clients cannot send,
 * which "tidegate headers" prints; maxAge is its age in seconds.
 */
export function verify({ method, path, query, headers, now, keys, stripped, maxAge }) {
  const received = new Map();
  for (const [name, value] of headers) {
    const values = received.get(fold(name)) ?? [];
    values.push(value.replace(/^[ \t]+|[ \t]+$/g, ""));
    received.set(fold(name), values);
  }
  const one = (name) => (received.get(name)?.length === 1 ? received.get(name)[0] : null);
  if (one("signature-input") === null || one("signature") === null) return "not signed";
  const parsed = INPUT.exec(one("signature-input"));
  const tag = SIGNATURE.exec(one("signature"));
  if (!parsed || !tag) return "not a signature of the gateway";
  const [, parameters, names, created, keyId] = parsed;
  const covered = ["x-request-id", ...[...names.matchAll(/"([^"]+)"/g)].map((found) => found[1])];
  const folded = covered.map(fold);
  if (stripped.map(fold).some((name) => received.has(name) && !folded.includes(name))) {
    return "a header of identity is not signed";
  }
  if (folded.some((name) => one(name) === null) || new Set(folded).size < folded.length) {
    return "a signed header is missing or repeated";
  }
  const age = now - Number(created);
  if (age > maxAge) return "too old";
  if (age < -FUTURE_SECONDS) return "from the future";
  if (!Object.hasOwn(keys, keyId)) return "unknown key";
  const base = [
    `"@method": ${method}`,
    `"@path": ${path}`,
    `"@query": ?${query ?? ""}`,
    ...covered.map((name) => `"${name}": ${one(fold(name))}`),
    `"@signature-params": ${parameters}`,
  ].join("\n");
  const expected = createHmac("sha256", keys[keyId]).update(base).digest();
  const claimed = Buffer.from(tag[1], "base64");
  const same = expected.length === claimed.length && timingSafeEqual(expected, claimed);
  return same ? null : "wrong signature";
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  for await (const line of createInterface({ input: process.stdin })) {
    console.log(verify(JSON.parse(line)) ?? "ok");
  }
}
