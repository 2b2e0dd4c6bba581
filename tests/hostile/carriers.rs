//! Where a token stands in a request.

use serde_json::json;

use super::{ENCODING, MISSING, NOT_COMPACT, REPEATED, TOO_LONG, Table, World};

pub(super) fn add(world: &World, table: &mut Table) {
    let good = world.sound("ES256", &json!({}));
    let text = |text: &str| text.replace("TOKEN", &good).into_bytes();
    table.request("no credentials", vec![], MISSING);
    for (name, value) in [
        ("an empty header", ""),
        ("a scheme alone", "Bearer"),
        ("a scheme and a space", "Bearer "),
        ("Basic with a token", "Basic TOKEN"),
        ("DPoP", "DPoP TOKEN"),
        ("Digest", "Digest TOKEN"),
        ("a scheme that begins alike", "Bearers TOKEN"),
        ("a scheme with a colon", "Bearer:TOKEN"),
        ("a scheme with an equals sign", "Bearer=TOKEN"),
        ("a tab behind the scheme", "Bearer\tTOKEN"),
        ("a quoted scheme", "\"Bearer\" TOKEN"),
        ("no scheme", "TOKEN"),
        ("another scheme first", "Basic abc, Bearer TOKEN"),
    ] {
        table.request(name, vec![("authorization", text(value))], MISSING);
    }
    for (name, value, expect) in [
        ("two tokens joined by a comma", "Bearer TOKEN, Bearer TOKEN", ENCODING),
        ("two tokens joined by a bare comma", "Bearer TOKEN,TOKEN", ENCODING),
        ("two tokens joined by a space", "Bearer TOKEN TOKEN", ENCODING),
        ("the scheme twice", "Bearer Bearer TOKEN", ENCODING),
        ("a quoted token", "Bearer \"TOKEN\"", ENCODING),
        ("a token in angle brackets", "Bearer <TOKEN>", ENCODING),
        ("a parameter instead of a token", "Bearer token=TOKEN", ENCODING),
        ("a parameter behind the token", "Bearer TOKEN; realm=x", ENCODING),
        ("an opaque token", "Bearer 2YotnFZFEjr1zCsicMWpAA", NOT_COMPACT),
    ] {
        table.request(name, vec![("authorization", text(value))], expect);
    }
    let (token, basic) = (text("Bearer TOKEN"), b"Basic dTpw".to_vec());
    for (name, values) in [
        ("the same token in two headers", [token.clone(), token.clone()]),
        ("Basic beside a token", [basic.clone(), token.clone()]),
        ("a token beside Basic", [token.clone(), basic]),
        ("an empty header beside a token", [Vec::new(), token.clone()]),
    ] {
        let headers = values.into_iter().map(|value| ("authorization", value)).collect();
        table.request(name, headers, REPEATED);
    }
    for name in ["proxy-authorization", "x-authorization", "x-forwarded-authorization", "cookie"] {
        table.request(format!("a token in {name}"), vec![(name, token.clone())], MISSING);
    }
    table.token("a token of 8 KiB and a byte", "a".repeat(8193), TOO_LONG);
    table.token("a good token with a long tail", good.clone() + &"A".repeat(8192), TOO_LONG);
}
