//! What stands in a token's header.

use serde_json::json;

use super::world::{base64url, hmac_of};
use super::{
    ALGORITHM, COMPRESSED, CRITICAL, ENCRYPTED, Expect, HEADER, HEADER_TOO_LONG, NESTED, NESTING,
    REPETITION, TYPE, Table, UNENCODED, UNSIGNED, World,
};

pub(super) fn add(world: &World, table: &mut Table) {
    add_nonsense(world, table);
    add_repetitions(world, table);
    add_extensions(world, table);
    add_none(world, table);
    add_algorithms(world, table);
}

/// Headers that are no JSON object with an algorithm.
fn add_nonsense(world: &World, table: &mut Table) {
    let mut with = |name: &str, header: &[u8], expect: Expect| {
        let payload = world.claims(&json!({})).to_string();
        table.token(name, world.signed("ES256", header, payload), expect);
    };
    for (name, header) in [
        ("a header of text", "ES256"),
        ("a header that is a list", r#"["ES256"]"#),
        ("a header that is null", "null"),
        ("a header that is a number", "1"),
        ("a header that is a string", r#""ES256""#),
        ("a header without members", "{}"),
        ("a header cut short", r#"{"alg":"ES256","kid":"ec""#),
        ("a header and more", r#"{"alg":"ES256","kid":"ec"}{}"#),
        ("a header with a comma too many", r#"{"alg":"ES256","kid":"ec",}"#),
        ("a header with comments", r#"{"alg":"ES256"/**/,"kid":"ec"}"#),
        ("a header in single quotes", "{'alg':'ES256','kid':'ec'}"),
        ("a header with a byte order mark", "\u{feff}{\"alg\":\"ES256\",\"kid\":\"ec\"}"),
        ("no algorithm", r#"{"kid":"ec"}"#),
        ("an algorithm of another case", r#"{"ALG":"ES256","kid":"ec"}"#),
        ("an algorithm that is null", r#"{"alg":null,"kid":"ec"}"#),
        ("an algorithm that is a number", r#"{"alg":256,"kid":"ec"}"#),
        ("an algorithm that is a list", r#"{"alg":["ES256"],"kid":"ec"}"#),
        ("an algorithm that is an object", r#"{"alg":{"ES256":1},"kid":"ec"}"#),
        ("an algorithm that is true", r#"{"alg":true,"kid":"ec"}"#),
    ] {
        with(name, header.as_bytes(), HEADER);
    }
    with("a header in UTF-16", b"\x7b\x00\x7d\x00", HEADER);
    with("a header with bytes that are no text", b"{\"alg\":\"ES256\",\"kid\":\"\xff\"}", HEADER);
    let deep = format!("{{\"alg\":\"ES256\",\"x\":{}{}}}", "[".repeat(600), "]".repeat(600));
    with("a header nested deeply", deep.as_bytes(), NESTING);
    let wide = json!({"alg": "ES256", "kid": "ec", "x": vec![1; 500]}).to_string();
    with("a header of many values", wide.as_bytes(), NESTING);
    let long = json!({"alg": "ES256", "kid": "ec", "x": "x".repeat(2048)}).to_string();
    with("a header of more than 2 KiB", long.as_bytes(), HEADER_TOO_LONG);
}

/// Two readers could read two things.
fn add_repetitions(world: &World, table: &mut Table) {
    let payload = world.claims(&json!({})).to_string();
    for (name, header) in [
        ("the algorithm twice", r#"{"alg":"ES256","alg":"ES256","kid":"ec"}"#),
        ("none after the algorithm", r#"{"alg":"ES256","kid":"ec","alg":"none"}"#),
        ("none before the algorithm", r#"{"alg":"none","kid":"ec","alg":"ES256"}"#),
        ("the algorithm again, escaped", r#"{"alg":"ES256","kid":"ec","\u0061lg":"none"}"#),
        ("the key id twice", r#"{"alg":"ES256","kid":"ec","kid":"rsa"}"#),
        ("the type twice", r#"{"alg":"ES256","kid":"ec","typ":"JWT","typ":"x"}"#),
    ] {
        table.token(name, world.signed("ES256", header, &payload), REPETITION);
    }
}

/// Members that change how the token is to be read, with a good signature over them.
fn add_extensions(world: &World, table: &mut Table) {
    for (name, change, expect) in [
        ("crit", json!({"crit": ["exp"], "exp": 1}), CRITICAL),
        ("crit of nothing", json!({"crit": []}), CRITICAL),
        ("crit that is a string", json!({"crit": "exp"}), CRITICAL),
        ("crit that names what is not there", json!({"crit": ["http://x.test/y"]}), CRITICAL),
        ("crit of b64", json!({"crit": ["b64"], "b64": false}), CRITICAL),
        ("b64 false", json!({"b64": false}), UNENCODED),
        ("b64 that is a string", json!({"b64": "false"}), UNENCODED),
        ("a compressed payload", json!({"zip": "DEF"}), COMPRESSED),
        ("an encryption in three parts", json!({"enc": "A128GCM"}), ENCRYPTED),
        ("a nested token by cty", json!({"cty": "JWT"}), NESTED),
        ("a nested token by cty in lower case", json!({"cty": "jwt"}), NESTED),
        ("a nested token by long cty", json!({"cty": "application/jwt"}), NESTED),
        ("cty that is a list", json!({"cty": ["JWT"]}), HEADER),
        ("typ that is a number", json!({"typ": 1}), HEADER),
        ("typ that is a list", json!({"typ": ["JWT"]}), HEADER),
        ("an empty typ", json!({"typ": ""}), TYPE),
        ("typ JOSE", json!({"typ": "JOSE"}), TYPE),
        ("typ JWE", json!({"typ": "JWE"}), TYPE),
        ("a DPoP proof", json!({"typ": "dpop+jwt"}), TYPE),
        ("a logout token", json!({"typ": "logout+jwt"}), TYPE),
        ("a security event", json!({"typ": "secevent+jwt"}), TYPE),
        ("an introspection answer", json!({"typ": "token-introspection+jwt"}), TYPE),
        ("an authorisation request", json!({"typ": "oauth-authz-req+jwt"}), TYPE),
        ("typ of text", json!({"typ": "text/jwt"}), TYPE),
        ("typ with a space", json!({"typ": "JWT "}), TYPE),
    ] {
        table.token(name, world.token(&change, &json!({})), expect);
    }
}

/// Unsecured tokens, with every kind of signature part.
fn add_none(world: &World, table: &mut Table) {
    let payload = base64url(world.claims(&json!({})).to_string());
    for alg in ["none", "None", "NONE", "nOnE", "none ", " none", "none\u{0}", "n\u{f8}ne", ""] {
        let head = base64url(json!({"alg": alg, "typ": "JWT", "kid": "ec"}).to_string());
        let empty = format!("{head}.{payload}.");
        table.token(format!("alg {alg:?} without signature"), empty, UNSIGNED);
        let zero = format!("{head}.{payload}.AA");
        table.token(format!("alg {alg:?} with a signature of zero"), zero, ALGORITHM);
        let message = format!("{head}.{payload}");
        let signature = base64url(world.sign("ES256", message.as_bytes()));
        let signed = format!("{message}.{signature}");
        table.token(format!("alg {alg:?} with a good signature"), signed, ALGORITHM);
    }
}

/// Algorithms that are not the issuer's, and public keys used as secrets (RFC 8725, 2.1).
fn add_algorithms(world: &World, table: &mut Table) {
    for alg in ["rs256", "RS1", "HS1", "ES512", "ES256K", "Ed25519", "Ed448", "ML-DSA-44", "dir"] {
        let token = world.token(&json!({"alg": alg}), &json!({}));
        table.token(format!("alg {alg}"), token, ALGORITHM);
    }
    for alg in ["RS384", "RS512", "PS256", "PS384", "PS512"] {
        let header = World::header(alg, &json!({})).to_string();
        let token = world.signed(alg, header, world.claims(&json!({})).to_string());
        table.token(format!("a good signature of {alg}, which is not listed"), token, ALGORITHM);
    }
    let public = super::world::RSA_PUBLIC;
    let parts = world.rsa_parts();
    let spki = super::world::der(public);
    for (name, secret) in [
        ("PEM", public.as_bytes().to_vec()),
        ("PEM without its last line break", public.trim_end().into()),
        ("PEM with Windows line breaks", public.replace('\n', "\r\n").into_bytes()),
        ("DER", spki.clone()),
        ("PKCS #1", world.rsa_pkcs1()),
        ("base64", base64url(spki).into_bytes()),
        ("modulus", parts.n.clone()),
        ("modulus in base64url", base64url(parts.n).into_bytes()),
        ("key set", world.jwks().into_bytes()),
        ("empty secret", Vec::new()),
    ] {
        for issuer in [super::world::ISSUER, super::world::PEM_ISSUER] {
            let header = json!({"alg": "HS256", "typ": "JWT", "kid": "rsa"}).to_string();
            let payload = world.claims(&json!({"iss": issuer})).to_string();
            let message = format!("{}.{}", base64url(header), base64url(payload));
            let tag = hmac_of(ring::hmac::HMAC_SHA256, &secret, message.as_bytes());
            let token = format!("{message}.{}", base64url(tag));
            table.token(format!("HMAC with {name} as secret, {issuer}"), token, ALGORITHM);
        }
    }
    for (alg, kind) in [("HS384", ring::hmac::HMAC_SHA384), ("HS512", ring::hmac::HMAC_SHA512)] {
        let header = json!({"alg": alg, "kid": "rsa"}).to_string();
        let message =
            format!("{}.{}", base64url(header), base64url(world.claims(&json!({})).to_string()));
        let tag = hmac_of(kind, public.as_bytes(), message.as_bytes());
        let token = format!("{message}.{}", base64url(tag));
        table.token(format!("{alg} with the public key"), token, ALGORITHM);
    }
}
