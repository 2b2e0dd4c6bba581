"""Verifies Tidegate's signature over identity headers (RFC 9421, HMAC-SHA256).

Needs Python 3.9 and nothing else. Call verify() before you trust any identity header. As a
program it reads requests as JSON, one on each line, and writes "ok" or why not, line by line.
"""

import base64
import binascii
import hashlib
import hmac
import json
import re
import sys

# Exactly what the gateway writes; whatever else could be a signature is not the gateway's.
INPUT = re.compile(
    r'tidegate=(\("@method" "@path" "@query" "x-request-id"((?: "[^"\\]+")*)\)'
    r';created=([0-9]{1,12});keyid="([A-Za-z0-9._-]{1,64})";alg="hmac-sha256")'
)
SIGNATURE = re.compile(r"tidegate=:([A-Za-z0-9+/]{43}=):")
FUTURE_SECONDS = 5


def fold(name):
    """Some servers cannot tell "_" from "-", so neither does this."""
    return name.lower().replace("_", "-")


def verify(method, path, query, headers, now, keys, stripped, max_age):
    """Returns None where the request is the gateway's, else why it is not.

    path and query are those of the request line, not decoded; query is without "?", None where
    there is none. headers is a list of (name, value) as received. now is Unix seconds. keys maps
    key ids to secrets; during rotation it has two. stripped is the list of headers that clients
    cannot send, which "tidegate headers" prints; max_age is its age in seconds.
    """
    received = {}
    for name, value in headers:
        received.setdefault(fold(name), []).append(value.strip(" \t"))
    if len(received.get("signature-input", [])) != 1 or len(received.get("signature", [])) != 1:
        return "not signed"
    parsed = INPUT.fullmatch(received["signature-input"][0])
    tag = SIGNATURE.fullmatch(received["signature"][0])
    if not parsed or not tag:
        return "not a signature of the gateway"
    parameters, names, created, key_id = parsed.groups()
    covered = ["x-request-id"] + re.findall(r'"([^"]+)"', names)
    folded = [fold(name) for name in covered]
    for name in stripped:
        if fold(name) in received and fold(name) not in folded:
            return "a header of identity is not signed"
    if any(len(received.get(name, [])) != 1 for name in folded) or len(set(folded)) < len(folded):
        return "a signed header is missing or repeated"
    age = now - int(created)
    if age > max_age:
        return "too old"
    if age < -FUTURE_SECONDS:
        return "from the future"
    if key_id not in keys:
        return "unknown key"
    lines = ['"@method": ' + method, '"@path": ' + path, '"@query": ?' + (query or "")]
    lines += ['"%s": %s' % (name, received[fold(name)][0]) for name in covered]
    lines.append('"@signature-params": ' + parameters)
    base = "\n".join(lines).encode("utf-8", "surrogateescape")
    expected = hmac.new(keys[key_id].encode(), base, hashlib.sha256).digest()
    try:
        claimed = base64.b64decode(tag.group(1), validate=True)
    except binascii.Error:
        return "not a signature of the gateway"
    return None if hmac.compare_digest(expected, claimed) else "wrong signature"


if __name__ == "__main__":
    for line in sys.stdin:
        r = json.loads(line)
        why = verify(
            r["method"], r["path"], r["query"], r["headers"], r["now"], r["keys"],
            r["stripped"], r["maxAge"],
        )
        print(why or "ok", flush=True)
