//! What a token looks like from outside: parts, base64url, JSON serialisation.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::world::base64url;
use super::{ENCODING, ENCRYPTED, Expect, JSON_FORM, NOT_COMPACT, Table, UNSIGNED, World};

pub(super) fn add(world: &World, table: &mut Table) {
    let good = world.sound("ES256", &json!({}));
    let parts: Vec<&str> = good.split('.').collect();
    let [header, payload, signature] = parts[..] else { panic!("{good}") };
    let cases: [(&str, String, Expect); 24] = [
        ("a dot", ".".into(), NOT_COMPACT),
        ("two dots", "..".into(), NOT_COMPACT),
        ("three dots", "...".into(), NOT_COMPACT),
        ("four dots", "....".into(), ENCRYPTED),
        ("one part", header.into(), NOT_COMPACT),
        ("two parts", format!("{header}.{payload}"), NOT_COMPACT),
        ("four parts", format!("{good}.{signature}"), NOT_COMPACT),
        ("six parts", format!("{good}.{good}"), NOT_COMPACT),
        ("a dot at the end", format!("{good}."), NOT_COMPACT),
        ("two dots at the end", format!("{good}.."), ENCRYPTED),
        ("a dot at the start", format!(".{good}"), NOT_COMPACT),
        ("no header", format!(".{payload}.{signature}"), NOT_COMPACT),
        ("no payload", format!("{header}..{signature}"), NOT_COMPACT),
        ("no signature", format!("{header}.{payload}."), UNSIGNED),
        ("header and payload swapped", format!("{payload}.{header}.{signature}"), super::HEADER),
        ("padding behind the signature", format!("{good}=="), ENCODING),
        ("one byte of padding", format!("{good}="), ENCODING),
        ("a percent-encoded dot", good.replace('.', "%2e"), ENCODING),
        ("a percent-encoded end", format!("{good}%00"), ENCODING),
        ("the standard alphabet", format!("{header}.{payload}.{}+/A", &signature[3..]), ENCODING),
        ("a letter too many", format!("{good}AAA"), ENCODING),
        ("bits left over in the signature", stray_bits(&good), ENCODING),
        ("a space in the header", format!("{} {}", &good[..5], &good[5..]), ENCODING),
        ("a comma in the signature", format!("{good},"), ENCODING),
    ];
    for (name, token, expect) in cases {
        table.token(name, token, expect);
    }
    for (name, part) in [("header", 0), ("payload", 1)] {
        let padded = |pad: &str| {
            let mut parts: Vec<String> = parts.iter().map(|part| (*part).to_owned()).collect();
            parts[part].push_str(pad);
            parts.join(".")
        };
        table.token(format!("padding behind the {name}"), padded("="), ENCODING);
        table.token(format!("a space behind the {name}"), padded(" "), ENCODING);
        table.token(format!("a tab behind the {name}"), padded("\t"), ENCODING);
    }
    let spaced =
        STANDARD.encode("{\"alg\":\"ES256\",\"typ\":\"JWT\",\"kid\":\"ec\",\"x\":\"??>>\"}");
    table.token("a header in plain base64", format!("{spaced}.{payload}.{signature}"), ENCODING);
    let bare = format!("{{\"alg\":\"ES256\"}}.{payload}.{signature}");
    table.token("a header that is not encoded", bare, JSON_FORM);
    let bytes = [header.as_bytes(), b".\xff\xfe.", signature.as_bytes()].concat();
    table.token("bytes that are no text", bytes, NOT_COMPACT);
    let wide = format!("{header}.{payload}.\u{ff21}\u{ff21}");
    table.token("letters that look like letters", wide, ENCODING);
    add_json(table, [header, payload, signature]);
    add_encrypted(table);
}

/// The last character of an ECDSA signature has four bits that mean nothing.
fn stray_bits(good: &str) -> String {
    let last = good.chars().last().unwrap();
    let next = char::from(last as u8 + 1);
    format!("{}{next}", &good[..good.len() - 1])
}

/// The JSON serialisations of RFC 7515, 7.2.
fn add_json(table: &mut Table, [header, payload, signature]: [&str; 3]) {
    let flattened = json!({"payload": payload, "protected": header, "signature": signature});
    let general = json!({
        "payload": payload, "signatures": [{"protected": header, "signature": signature}],
    });
    let unprotected = json!({
        "payload": payload, "header": {"alg": "none"}, "signature": signature,
    });
    for (name, form) in
        [("flattened JSON", flattened), ("general JSON", general), ("JSON alg", unprotected)]
    {
        table.token(name, form.to_string(), JSON_FORM);
    }
    let encoded = base64url(json!({"payload": payload}).to_string());
    table.token("JSON in base64url", encoded, NOT_COMPACT);
}

/// Encrypted tokens (RFC 7516).
fn add_encrypted(table: &mut Table) {
    for (name, alg) in [
        ("JWE with RSA-OAEP", "RSA-OAEP"),
        ("JWE direct", "dir"),
        ("JWE with a password", "PBES2-HS256+A128KW"),
    ] {
        let header = json!({"alg": alg, "enc": "A128GCM", "p2c": 2_000_000_000});
        let token = format!("{}.AAAA.AAAA.AAAA.AAAA", base64url(header.to_string()));
        table.token(name, token, ENCRYPTED);
    }
}
