//! Which key a token asks for, and whose.

use serde_json::{Value, json};

use super::world::{ISSUER, PEM_ISSUER, SECRET_ISSUER, base64url, curve_jwk};
use super::{ALGORITHM, Expect, HEADER, KEY_NAME, KEY_UNFIT, KEY_UNKNOWN, SIGNATURE, Table, World};

pub(super) fn add(world: &World, table: &mut Table) {
    add_ids(world, table);
    add_mismatches(world, table);
    add_own_keys(world, table);
    add_other_issuers(world, table);
}

fn add_ids(world: &World, table: &mut Table) {
    let long = "k".repeat(257);
    let cases: [(&str, Value, Expect); 18] = [
        ("an unknown key id", json!("ec2"), KEY_UNKNOWN),
        ("a key id of another case", json!("EC"), KEY_UNKNOWN),
        ("an empty key id", json!(""), KEY_UNKNOWN),
        ("a path as key id", json!("../../../../dev/null"), KEY_UNKNOWN),
        ("an absolute path as key id", json!("/proc/self/environ"), KEY_UNKNOWN),
        ("a URL as key id", json!(world.lure), KEY_UNKNOWN),
        ("SQL as key id", json!("ec' UNION SELECT 'AAAA'; --"), KEY_UNKNOWN),
        ("a command as key id", json!("ec|sleep 10 #$(id)`id`"), KEY_UNKNOWN),
        ("a template as key id", json!("${jndi:ldap://127.0.0.1/a}{{7*7}}"), KEY_UNKNOWN),
        ("the key id of a key for encryption", json!("enc"), KEY_UNKNOWN),
        ("a key id that two keys have", json!("twin"), KEY_UNKNOWN),
        ("NUL behind the key id", json!("ec\u{0}"), KEY_NAME),
        ("a line break in the key id", json!("ec\r\nx-user-id: root"), KEY_NAME),
        ("a key id of 257 bytes", json!(long), KEY_NAME),
        ("a key id that is a number", json!(1), HEADER),
        ("a key id that is a list", json!(["ec"]), HEADER),
        ("a key id that is an object", json!({"ec": 1}), HEADER),
        ("a key id that is true", json!(true), HEADER),
    ];
    for (name, kid, expect) in cases {
        table.token(name, world.token(&json!({ "kid": kid }), &json!({})), expect);
    }
    let header = r#"{"alg":"ES256","kid":null}"#;
    let payload = world.claims(&json!({})).to_string();
    table.token("a key id that is null", world.signed("ES256", header, &payload), HEADER);
    let twin = r#"{"alg":"ES256","kid":"twin"}"#;
    table.token("signed by one of two twins", world.signed("twin", twin, &payload), KEY_UNKNOWN);
    // Only one key of the set is left for each algorithm, so no name is needed; but it has to
    // be that key.
    let unnamed = r#"{"alg":"ES256"}"#;
    table.token("unnamed and signed by a twin", world.signed("twin", unnamed, &payload), SIGNATURE);
}

/// The algorithm of one key with the name of another.
fn add_mismatches(world: &World, table: &mut Table) {
    for (alg, kid) in [
        ("ES256", "rsa"),
        ("ES256", "ed"),
        ("RS256", "ec"),
        ("RS256", "ed"),
        ("EdDSA", "ec"),
        ("EdDSA", "rsa"),
    ] {
        let header = json!({"alg": alg, "kid": kid}).to_string();
        let token = world.signed(alg, header, world.claims(&json!({})).to_string());
        table.token(format!("{alg} with the key {kid}"), token, KEY_UNFIT);
    }
}

/// Keys that the token brings along or points to.
fn add_own_keys(world: &World, table: &mut Table) {
    let jwk = curve_jwk(&world.evil, "ec");
    let lure = &world.lure;
    let chain = json!([base64url("a certificate of my own")]);
    for (name, change) in [
        ("a key in the header", json!({"jwk": jwk})),
        ("a key in the header, unnamed", json!({"jwk": jwk, "kid": null})),
        ("a symmetric key in the header", json!({"jwk": {"kty": "oct", "k": "AAAA"}})),
        ("a key set of its own", json!({"jku": lure})),
        ("a key set of its own with a fragment", json!({"jku": format!("{ISSUER}#{lure}")})),
        ("a key set of its own after an at sign", json!({"jku": format!("{ISSUER}@{lure}")})),
        ("a certificate chain of its own", json!({"x5c": chain})),
        ("a certificate at a URL", json!({"x5u": lure})),
        ("a thumbprint of its own", json!({"x5t": "AAAA", "x5t#S256": "AAAA"})),
        ("all of that", json!({"jwk": jwk, "jku": lure, "x5u": lure, "x5c": chain})),
        ("an address of the metadata service", json!({"jku": "http://169.254.169.254/"})),
        ("a file", json!({"jku": "file:///etc/passwd"})),
        ("nothing but a signature by another key", json!({})),
    ] {
        let header = World::header("ES256", &change).to_string();
        let token = world.signed("evil", header, world.claims(&json!({})).to_string());
        table.token(format!("own key: {name}"), token, SIGNATURE);
    }
    let unknown = World::header("ES256", &json!({"kid": "mine", "jku": lure, "jwk": jwk}));
    let token = world.signed("evil", unknown.to_string(), world.claims(&json!({})).to_string());
    table.token("own key: a name of its own and where to get it", token, KEY_UNKNOWN);
}

/// Keys of one issuer do not vouch for another.
fn add_other_issuers(world: &World, table: &mut Table) {
    let of = |issuer: &str, alg: &str, header: Value| {
        world.signed(alg, header.to_string(), world.claims(&json!({"iss": issuer})).to_string())
    };
    let plain = |alg: &str| json!({"alg": alg, "typ": "JWT"});
    for (name, token, expect) in [
        ("the secret for the key set's issuer", of(ISSUER, "HS256", plain("HS256")), ALGORITHM),
        ("the secret for the PEM's issuer", of(PEM_ISSUER, "HS256", plain("HS256")), ALGORITHM),
        ("a curve for the PEM's issuer", of(PEM_ISSUER, "ES256", plain("ES256")), ALGORITHM),
        ("RSA for the secret's issuer", of(SECRET_ISSUER, "RS256", plain("RS256")), ALGORITHM),
        ("a twin for the key set's issuer", of(ISSUER, "twin", plain("ES256")), SIGNATURE),
    ] {
        table.token(format!("another issuer's key: {name}"), token, expect);
    }
}
