//! What stands in the payload, under a good signature.

use serde_json::{Value, json};

use super::world::{ISSUER, base64url};
use super::{
    AUDIENCE, BOUND, CERTIFICATE, EXPIRED, Expect, INCOMPLETE, ISSUED_LATER, ISSUER as NO_ISSUER,
    NESTING, NO_EXPIRY, NO_SUBJECT, NOT_YET_VALID, PAYLOAD, PROOF_KEY, REPETITION, TIME, Table,
    UNSENDABLE, World,
};

pub(super) fn add(world: &World, table: &mut Table) {
    add_payloads(world, table);
    add_repetitions(world, table);
    add_parties(world, table);
    add_times(world, table);
    add_access_tokens(world, table);
    add_bindings(world, table);
}

fn add_payloads(world: &World, table: &mut Table) {
    let header = World::header("ES256", &json!({})).to_string();
    let mut with = |name: &str, payload: &[u8], expect: Expect| {
        table.token(name, world.signed("ES256", &header, payload), expect);
    };
    let good = world.claims(&json!({})).to_string();
    let nested = world.sound("ES256", &json!({}));
    let unsecured = format!("{}.{}.", base64url(r#"{"alg":"none"}"#), base64url(&good));
    let list = format!("[{good}]");
    let cut = &good[..good.len() - 1];
    let long = format!("{good}{good}");
    let raw = |extra: &str| good.replacen('{', &format!("{{{extra},"), 1);
    for (name, payload) in [
        ("a payload of text", "mallory"),
        ("a payload that is null", "null"),
        ("a payload that is a number", "1"),
        ("a payload that is a string", "\"mallory\""),
        ("a payload that is a list", &list),
        ("a payload cut short", cut),
        ("two payloads", &long),
        ("a signed token as payload", &nested),
        ("an unsecured token as payload", &unsecured),
        ("a payload in form encoding", "iss=https%3A%2F%2Fissuer.test%2F&sub=root"),
        ("a payload in XML", "<Assertion><Subject>root</Subject></Assertion>"),
        ("NaN", &raw("\"x\":NaN")),
        ("Infinity", &raw("\"x\":Infinity")),
        ("a number beyond numbers", &raw("\"x\":1e400")),
        ("half a surrogate", &raw("\"x\":\"\\ud800\"")),
        ("a control character in a string", &raw("\"x\":\"\u{1}\"")),
        ("a comment", &raw("/* x */\"x\":1")),
        ("a number with a leading zero", &raw("\"x\":01")),
        ("a number in hexadecimal", &raw("\"x\":0x1f")),
    ] {
        with(name, payload.as_bytes(), PAYLOAD);
    }
    with("a payload in UTF-16", b"\x7b\x00\x7d\x00", PAYLOAD);
    with("a payload with bytes that are no text", b"{\"sub\":\"\xff\xfe\"}", PAYLOAD);
    with("a payload in UTF-8 that is too long", b"{\"sub\":\"\xc0\xaf\"}", PAYLOAD);
    let deep = |open: &str, close: &str, n: usize| {
        raw(&format!("\"x\":{}1{}", open.repeat(n), close.repeat(n)))
    };
    with("16 lists in the payload", deep("[", "]", 16).as_bytes(), NESTING);
    with("2,000 lists in the payload", deep("[", "]", 2000).as_bytes(), NESTING);
    with("500 objects in the payload", deep("{\"x\":", "}", 500).as_bytes(), NESTING);
    let many = json!({"x": vec![1; 2500]}).to_string();
    with("2,500 values in the payload", many.as_bytes(), NESTING);
}

fn add_repetitions(world: &World, table: &mut Table) {
    let header = World::header("ES256", &json!({})).to_string();
    let good = world.claims(&json!({})).to_string();
    for (name, extra) in [
        ("the subject twice", r#""sub":"root""#.to_owned()),
        ("the subject again, escaped", r#""s\u0075b":"root""#.to_owned()),
        ("the issuer twice", format!("\"iss\":\"{ISSUER}\"")),
        ("the audience twice", r#""aud":"users""#.to_owned()),
        ("the expiry twice", "\"exp\":1".to_owned()),
        ("a scope twice", r#""scope":"a","scope":"admin""#.to_owned()),
        ("a name twice further down", r#""x":{"y":[{"z":1,"z":2}]}"#.to_owned()),
    ] {
        let payload = good.replacen('{', &format!("{{{extra},"), 1);
        table.token(name, world.signed("ES256", &header, payload), REPETITION);
    }
}

fn add_parties(world: &World, table: &mut Table) {
    let cases: Vec<(&str, Value, Expect)> = vec![
        ("no issuer", json!({"iss": null}), NO_ISSUER),
        ("an empty issuer", json!({"iss": ""}), NO_ISSUER),
        ("another issuer", json!({"iss": "https://evil.test/"}), NO_ISSUER),
        ("the issuer without its slash", json!({"iss": "https://issuer.test"}), NO_ISSUER),
        ("the issuer in upper case", json!({"iss": "HTTPS://ISSUER.TEST/"}), NO_ISSUER),
        ("the issuer and a space", json!({"iss": format!("{ISSUER} ")}), NO_ISSUER),
        ("the issuer and NUL", json!({"iss": format!("{ISSUER}\u{0}")}), NO_ISSUER),
        ("the issuer as beginning", json!({"iss": format!("{ISSUER}evil")}), NO_ISSUER),
        ("the issuer in a list", json!({"iss": [ISSUER]}), NO_ISSUER),
        ("the issuer in an object", json!({"iss": {"iss": ISSUER}}), NO_ISSUER),
        ("an issuer that is a number", json!({"iss": 0}), NO_ISSUER),
        ("the name of the provider as issuer", json!({"iss": "main"}), NO_ISSUER),
        ("no audience", json!({"aud": null}), AUDIENCE),
        ("an empty audience", json!({"aud": ""}), AUDIENCE),
        ("another audience", json!({"aud": "users"}), AUDIENCE),
        ("the audience in upper case", json!({"aud": "ORDERS"}), AUDIENCE),
        ("the audience as beginning", json!({"aud": "orders-admin"}), AUDIENCE),
        ("two audiences in a string", json!({"aud": "users orders"}), AUDIENCE),
        ("an empty list of audiences", json!({"aud": []}), AUDIENCE),
        ("other audiences", json!({"aud": ["users", "billing"]}), AUDIENCE),
        ("a list in the list of audiences", json!({"aud": [["orders"]]}), AUDIENCE),
        ("a number in the list of audiences", json!({"aud": ["orders", 1]}), AUDIENCE),
        ("null in the list of audiences", json!({"aud": [(), "orders"]}), AUDIENCE),
        ("an object of audiences", json!({"aud": {"orders": true}}), AUDIENCE),
        ("an audience that is a number", json!({"aud": 1}), AUDIENCE),
        ("an audience that is true", json!({"aud": true}), AUDIENCE),
        ("a wildcard as audience", json!({"aud": "*"}), AUDIENCE),
        ("no subject", json!({"sub": null}), NO_SUBJECT),
        ("an empty subject", json!({"sub": ""}), NO_SUBJECT),
        ("a list of subjects", json!({"sub": ["root"]}), NO_SUBJECT),
        ("an object as subject", json!({"sub": {"id": "root"}}), NO_SUBJECT),
        ("true as subject", json!({"sub": true}), NO_SUBJECT),
        ("a fraction as subject", json!({"sub": 1.5}), NO_SUBJECT),
        ("a subject too large to be exact", json!({"sub": 1e20}), NO_SUBJECT),
        ("a line break in the subject", json!({"sub": "a\r\nx-user-roles: admin"}), UNSENDABLE),
        ("NUL in the subject", json!({"sub": "root\u{0}"}), UNSENDABLE),
        ("a comma in a role", json!({"roles": ["clerk,admin"]}), UNSENDABLE),
        ("a space in a scope", json!({"scope": ["read admin:all"]}), UNSENDABLE),
    ];
    for (name, change, expect) in cases {
        table.token(name, world.token(&json!({}), &change), expect);
    }
}

fn add_times(world: &World, table: &mut Table) {
    let now = world.now;
    let header = World::header("ES256", &json!({})).to_string();
    let null = |name: &str| {
        let claims = world.claims(&json!({ name: null })).to_string();
        let payload = claims.replacen('{', &format!("{{\"{name}\":null,"), 1);
        world.signed("ES256", &header, payload)
    };
    table.token("no expiry", world.token(&json!({}), &json!({"exp": null})), NO_EXPIRY);
    table.token(
        "expired a minute ago",
        world.token(&json!({}), &json!({"exp": now - 60})),
        EXPIRED,
    );
    table.token("expired in 1970", world.token(&json!({}), &json!({"exp": 0})), EXPIRED);
    for (name, later) in [("nbf", NOT_YET_VALID), ("iat", ISSUED_LATER)] {
        let at = |seconds: i64| world.token(&json!({}), &json!({ name: now + seconds }));
        table.token(format!("{name} in two minutes"), at(120), later);
        table.token(format!("{name} in ten years"), at(315_360_000), later);
    }
    for name in ["exp", "nbf", "iat"] {
        table.token(format!("{name} is null"), null(name), TIME);
        for (what, value) in [
            ("is text", json!((now + 300).to_string())),
            ("is a date", json!("2099-01-01T00:00:00Z")),
            ("is empty text", json!("")),
            ("is NaN in text", json!("NaN")),
            ("is true", json!(true)),
            ("is a list", json!([now + 300])),
            ("is an object", json!({"seconds": now + 300})),
            ("is negative", json!(-1)),
            ("is a fraction below zero", json!(-0.5)),
            ("is in milliseconds", json!((now + 300) * 1000)),
            ("is the largest number", json!(u64::MAX)),
            ("is beyond all numbers", json!(1e300)),
        ] {
            let token = world.token(&json!({}), &json!({ name: value }));
            table.token(format!("{name} {what}"), token, TIME);
        }
    }
}

/// RFC 9068, 2.2.
fn add_access_tokens(world: &World, table: &mut Table) {
    let typ = json!({"typ": "at+jwt"});
    let whole = json!({"client_id": "app", "jti": "1"});
    for (name, member, value) in [
        ("without client_id", "client_id", Value::Null),
        ("without jti", "jti", Value::Null),
        ("without iat", "iat", Value::Null),
        ("with an empty client_id", "client_id", json!("")),
        ("with a jti that is a number", "jti", json!(1)),
        ("with a subject that is a number", "sub", json!(1)),
    ] {
        let mut claims = whole.clone();
        claims[member] = value;
        table.token(format!("access token {name}"), world.token(&typ, &claims), INCOMPLETE);
    }
}

/// RFC 7800, RFC 8705, RFC 9449.
fn add_bindings(world: &World, table: &mut Table) {
    let digest = base64url([7; 32]);
    for (name, cnf, expect) in [
        ("a certificate that is not there", json!({"x5t#S256": digest}), CERTIFICATE),
        ("a DPoP key", json!({"jkt": digest}), PROOF_KEY),
        ("both", json!({"jkt": digest, "x5t#S256": digest}), PROOF_KEY),
        ("a key", json!({"jwk": {"kty": "oct", "k": "AAAA"}}), BOUND),
        ("a key id", json!({"kid": "ec"}), BOUND),
        ("an encrypted key", json!({"jwe": "a.b.c.d.e"}), BOUND),
        ("a key at a URL", json!({"jku": world.lure}), BOUND),
        ("an unheard-of kind", json!({"x": 1}), BOUND),
        ("a certificate and more", json!({"x5t#S256": digest, "x": 1}), BOUND),
        ("nothing", json!({}), BOUND),
        ("text", json!("x5t#S256"), BOUND),
        ("a list", json!([{"x5t#S256": digest}]), BOUND),
        ("half a digest", json!({"x5t#S256": "AAAA"}), BOUND),
        ("a digest with padding", json!({"x5t#S256": format!("{digest}=")}), BOUND),
        ("a digest in hexadecimal", json!({"x5t#S256": "07".repeat(32)}), BOUND),
        ("SHA-1", json!({"x5t": digest}), BOUND),
    ] {
        let token = world.token(&json!({}), &json!({ "cnf": cnf }));
        table.token(format!("bound to {name}"), token, expect);
    }
}
