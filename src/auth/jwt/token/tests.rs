use http::HeaderValue;
use serde_json::{Value, json};

use super::*;
use crate::auth::testing::{base64url, claims};

fn headers(values: &[&str]) -> HeaderMap {
    values.iter().map(|value| (AUTHORIZATION, HeaderValue::try_from(*value).unwrap())).collect()
}

fn found(value: &str) -> Result<Option<String>, TokenError> {
    bearer(&headers(&[value])).map(|token| token.map(str::to_owned))
}

/// Why a text is no token that could be verified.
fn refused(text: &str) -> Option<TokenError> {
    Decoded::of(text).and_then(|decoded| Token::read(&decoded).map(drop)).err()
}

fn read(header: &str, payload: &str, signature: &str) -> Result<(), TokenError> {
    let text = format!("{}.{}.{signature}", base64url(header), base64url(payload));
    refused(&text).map_or(Ok(()), Err)
}

fn read_header_json(header: &Value) -> Result<(), TokenError> {
    read(&header.to_string(), "{}", "c2ln")
}

#[test]
fn the_scheme_is_bearer_in_any_case() {
    for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
        assert_eq!(found(&format!("{scheme} a.b.c")), Ok(Some("a.b.c".into())));
    }
    assert_eq!(found("Bearer   a.b.c "), Ok(Some("a.b.c".into())));
}

#[test]
fn other_schemes_and_empty_tokens_are_no_token() {
    for value in ["", "Bearer", "Bearer ", "Basic a.b.c", "Bearerx a.b.c", "a.b.c", "Bearer:a"] {
        assert_eq!(found(value), Ok(None), "{value:?}");
    }
    assert_eq!(bearer(&HeaderMap::new()), Ok(None));
}

#[test]
fn a_second_authorization_header_is_refused() {
    let both = headers(&["Bearer a.b.c", "Bearer a.b.c"]);
    assert_eq!(bearer(&both), Err(TokenError::Repeated));
    assert_eq!(bearer(&headers(&["Basic x", "Bearer a.b.c"])), Err(TokenError::Repeated));
}

#[test]
fn tokens_end_at_eight_kibibytes() {
    assert!(found(&format!("Bearer {}", "a".repeat(8192))).unwrap().is_some());
    assert_eq!(found(&format!("Bearer {}", "a".repeat(8193))), Err(TokenError::TooLong));
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    let value = HeaderValue::from_bytes(b"Bearer a.b.\xff").unwrap();
    let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
    assert_eq!(bearer(&headers), Err(TokenError::NotCompact));
}

#[test]
fn a_token_has_three_parts_with_something_in_them() {
    let header = base64url(r#"{"alg":"RS256"}"#);
    assert_eq!(refused(&format!("{header}.e30.c2ln")), None);
    for text in [
        "",
        ".",
        "..",
        "a",
        "a.b",
        &format!("{header}.e30"),
        &format!("{header}..c2ln"),
        ".e30.c2ln",
        &format!("{header}.e30.c2ln."),
        &format!("{header}.e30.c2ln.x"),
        &format!("{header}.e30.c2ln.x.y.z"),
    ] {
        assert_eq!(refused(text), Some(TokenError::NotCompact), "{text}");
    }
    let unsigned = refused(&format!("{header}.e30."));
    assert_eq!(unsigned, Some(TokenError::Unsigned));
    for text in ["a.b.c.d.e=", "a.b, a.b", "a b", "a.b.c.d e", "a.b.c.d.e.\u{e4}"] {
        assert_eq!(refused(text), Some(TokenError::Encoding), "{text}");
    }
}

#[test]
fn encrypted_tokens_are_refused() {
    assert_eq!(refused("a.b.c.d.e"), Some(TokenError::Encrypted));
    let header = json!({"alg": "RS256", "enc": "A256GCM"});
    assert_eq!(read_header_json(&header), Err(TokenError::Encrypted));
}

#[test]
fn tokens_in_json_are_refused() {
    for text in ["{}", "{\"payload\":\"e30\"}", "{.a.b}"] {
        assert_eq!(refused(text), Some(TokenError::JsonForm), "{text}");
    }
}

#[test]
fn a_token_is_measured_whoever_found_it() {
    let text = format!("{}.e30.c2ln", "a".repeat(8192 - 9));
    assert_eq!(refused(&text), Some(TokenError::HeaderTooLong));
    assert_eq!(refused(&format!("{text}A")), Some(TokenError::TooLong));
}

#[test]
fn base64url_is_strict() {
    let header = base64url(r#"{"alg":"RS256"}"#);
    assert_eq!(refused(&format!("{header}.e30.c2lnAA")), None);
    // Padding, the other alphabet, spaces, line breaks, too few characters, bits left over.
    for signature in ["c2ln=", "c2lnAA==", "c2l+", "c2l/", "c2 n", "c2\nn", "c2lnA", "c2lnAB"] {
        let text = format!("{header}.e30.{signature}");
        assert_eq!(refused(&text), Some(TokenError::Encoding), "{signature:?}");
    }
    for text in [".e31.c2ln", ".e3.c2ln", "=.e30.c2ln", " .e30.c2ln"] {
        let text = format!("{header}{text}");
        assert_eq!(refused(&text), Some(TokenError::Encoding), "{text}");
    }
}

#[test]
fn headers_end_at_two_kibibytes() {
    let sized = |bytes: usize| {
        let header = json!({"alg": "RS256", "pad": ""}).to_string();
        let pad = "x".repeat(bytes - header.len());
        json!({"alg": "RS256", "pad": pad}).to_string()
    };
    assert_eq!(read(&sized(2048), "{}", "c2ln"), Ok(()));
    for bytes in [2049, 2050, 2051, 2052, 2053, 5000] {
        assert_eq!(read(&sized(bytes), "{}", "c2ln"), Err(TokenError::HeaderTooLong), "{bytes}");
    }
}

#[test]
fn algorithms_that_are_not_ours_are_untrusted() {
    for alg in ["none", "None", "NONE", "ES512", "ES256K", "HS1", "RS1", "", "rs256"] {
        let header = json!({"alg": alg, "typ": "JWT"});
        assert_eq!(read_header_json(&header), Err(TokenError::Algorithm), "{alg}");
    }
}

#[test]
fn headers_that_are_nonsense_are_malformed() {
    for header in [" ", "x", "[]", "{}", "null", r#"{"alg":1}"#, r#"{"alg":"RS256""#] {
        assert_eq!(read(header, "{}", "c2ln"), Err(TokenError::Header), "{header}");
    }
    for wrong in [json!({"typ": 1}), json!({"cty": 1}), json!({"kid": 1}), json!({"kid": null})] {
        let mut header = json!({"alg": "RS256"});
        header.as_object_mut().unwrap().extend(wrong.as_object().unwrap().clone());
        assert_eq!(read_header_json(&header), Err(TokenError::Header), "{header}");
    }
}

#[test]
fn names_that_come_twice_are_refused() {
    for header in [
        r#"{"alg":"RS256","alg":"RS256"}"#,
        r#"{"alg":"RS256","alg":"none"}"#,
        r#"{"alg":"RS256","a\u006cg":"none"}"#,
        r#"{"alg":"RS256","kid":"a","kid":"b"}"#,
        r#"{"alg":"RS256","x":{"y":1,"y":2}}"#,
    ] {
        assert_eq!(read(header, "{}", "c2ln"), Err(TokenError::Repetition), "{header}");
    }
    let claims = r#"{"sub":"a","sub":"b"}"#;
    assert_eq!(read(r#"{"alg":"RS256"}"#, claims, "c2ln"), Err(TokenError::Repetition));
}

#[test]
fn key_ids_are_short_and_printable() {
    let kid = |kid: &str| read_header_json(&json!({"alg": "RS256", "kid": kid}));
    let longest = "k".repeat(256);
    for good in ["", "k1", "../../../dev/null", "' OR 1=1 --", "\u{e4}", &longest] {
        assert_eq!(kid(good), Ok(()), "{good}");
    }
    for bad in ["k\u{0}", "\r\nx: y", "\u{7f}", "\u{85}", &format!("{longest}k")] {
        assert_eq!(kid(bad), Err(TokenError::KeyName), "{bad:?}");
    }
}

#[test]
fn what_changes_the_payload_is_refused() {
    for (change, why) in [
        (json!({"b64": false}), TokenError::Unencoded),
        (json!({"b64": "true"}), TokenError::Unencoded),
        (json!({"zip": "DEF"}), TokenError::Compressed),
        (json!({"cty": "JWT"}), TokenError::Nested),
        (json!({"cty": "application/jwt"}), TokenError::Nested),
        (json!({"cty": "at+JWT"}), TokenError::Nested),
    ] {
        let mut header = json!({"alg": "RS256"});
        header.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        assert_eq!(read_header_json(&header), Err(why), "{header}");
    }
    assert_eq!(read_header_json(&json!({"alg": "RS256", "b64": true, "cty": "json"})), Ok(()));
}

#[test]
fn critical_extensions_are_refused_whatever_they_are() {
    for crit in [json!(["b64"]), json!(["exp"]), json!([]), json!(null), json!("x"), json!({})] {
        let header = json!({"alg": "RS256", "crit": crit, "b64": true});
        assert_eq!(read_header_json(&header), Err(TokenError::Critical));
    }
}

#[test]
fn types_are_jwt_or_access_token() {
    let typed = |typ: &str| read_header_json(&json!({"alg": "RS256", "typ": typ}));
    for typ in ["JWT", "jwt", "at+jwt", "AT+JWT", "application/jwt", "Application/at+jwt"] {
        assert_eq!(typed(typ), Ok(()), "{typ}");
    }
    for typ in ["", "JOSE", "dpop+jwt", "logout+jwt", "application/", "text/jwt", "id+jwt"] {
        assert_eq!(typed(typ), Err(TokenError::Type), "{typ}");
    }
    assert_eq!(read_header_json(&json!({"alg": "RS256"})), Ok(()));
}

#[test]
fn places_of_keys_are_ignored() {
    let header = json!({
        "alg": "RS256", "jku": "https://evil.test/keys", "x5u": "https://evil.test/x",
        "x5c": ["AAAA"], "jwk": {"kty": "oct", "k": "AAAA"}, "x5t": 1, "x5t#S256": [],
    });
    assert_eq!(read_header_json(&header), Ok(()));
    // Not even their types matter.
    let header = json!({"alg": "RS256", "jku": 1, "x5u": [], "x5c": {}, "jwk": "x"});
    assert_eq!(read_header_json(&header), Ok(()));
}

#[test]
fn the_payload_is_a_json_object() {
    for payload in ["", "[]", "null", "1", "\"x\"", "{", "{}x", "\u{feff}{}"] {
        let refused = read(r#"{"alg":"RS256"}"#, payload, "c2ln").unwrap_err();
        let expected =
            if payload.is_empty() { TokenError::NotCompact } else { TokenError::Payload };
        assert_eq!(refused, expected, "{payload}");
    }
    let deep = |n: usize| {
        let payload = format!("{{\"a\":{}1{}}}", "[".repeat(n), "]".repeat(n));
        read(r#"{"alg":"RS256"}"#, &payload, "c2ln")
    };
    assert_eq!((deep(15), deep(16)), (Ok(()), Err(TokenError::Nesting)));
    assert_eq!(deep(1000), Err(TokenError::Nesting));
    let wide = |n: usize| {
        let payload = json!({"a": vec![1; n]}).to_string();
        read(r#"{"alg":"RS256"}"#, &payload, "c2ln")
    };
    assert_eq!((wide(1023), wide(1024)), (Ok(()), Err(TokenError::Nesting)));
}

#[test]
fn what_is_signed_is_the_first_two_parts_as_sent() {
    let payload = claims(&json!({})).to_string();
    let header = r#"{"alg":"ES256","kid":"k1"}"#;
    let text = format!("{}.{}.c2ln", base64url(header), base64url(&payload));
    let decoded = Decoded::of(&text).unwrap();
    let token = Token::read(&decoded).unwrap();
    assert_eq!(token.signed(), text.strip_suffix(".c2ln").unwrap().as_bytes());
    assert_eq!((token.signature().as_slice(), token.kid.as_deref()), (&b"sig"[..], Some("k1")));
    assert_eq!((token.algorithm, token.follows_rfc9068), (Algorithm::ES256, false));
    assert_eq!(token.claims.get("sub").and_then(super::Value::as_str), Some("user-1"));
    assert_eq!(token.kept()["sub"], "user-1");
    let [header, claims] = glance(&text);
    assert_eq!(
        (&header.unwrap()["kid"], &claims.unwrap()["sub"]),
        (&"k1".into(), &"user-1".into())
    );
}
