//! The examples of RFC 9421, B.2.4 to B.2.6, with the keys of B.1.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use jsonwebtoken::Algorithm;
use jsonwebtoken::signature::Verifier;

use super::super::parse::{self, Input};
use super::super::{SignatureError, base};
use crate::auth::jwt::key::Key;
use crate::auth::testing;
use crate::edge::RequestView;

const ED25519: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAJrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=
-----END PUBLIC KEY-----
";
const P256: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEqIVYZVLCrPZHGHjP17CTW0/+D9Lf
w0EkjqF7xB4FivAxzic30tMM4GF+hR6Dxh71Z50VGGdldkkDXZCnTNnoXQ==
-----END PUBLIC KEY-----
";
const SHARED: &str =
    "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ==";

const B24_INPUT: &str = "sig-b24=(\"@status\" \"content-type\" \"content-digest\" \
                         \"content-length\");created=1618884473;keyid=\"test-key-ecc-p256\"";
const B24: &str = "sig-b24=:wNmSUAhwb5LxtOtOpNa6W5xj067m5hFrj0XQ4fvpaCLx0NKocgPquLgyahnzDnDAUy5eCd\
                   lYUEkLIj+32oiasw==:";
const B24_BASE: &str = "\"@status\": 200
\"content-type\": application/json
\"content-digest\": sha-512=:mEWXIS7MaLRuGgxOBdODa3xqM1XdEvxoYhvlCFJ41QJgJc4GTsPp29l5oGX69wWdXymy\
U0rjJuahq4l5aGgfLQ==:
\"content-length\": 23
\"@signature-params\": (\"@status\" \"content-type\" \"content-digest\" \"content-length\")\
;created=1618884473;keyid=\"test-key-ecc-p256\"";

const B25_INPUT: &str = "sig-b25=(\"date\" \"@authority\" \"content-type\")\
                         ;created=1618884473;keyid=\"test-shared-secret\"";
const B25: &str = "sig-b25=:pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=:";
const B25_BASE: &str = "\"date\": Tue, 20 Apr 2021 02:07:55 GMT
\"@authority\": example.com
\"content-type\": application/json
\"@signature-params\": (\"date\" \"@authority\" \"content-type\")\
;created=1618884473;keyid=\"test-shared-secret\"";

const B26_INPUT: &str = "sig-b26=(\"date\" \"@method\" \"@path\" \"@authority\" \"content-type\" \
                         \"content-length\");created=1618884473;keyid=\"test-key-ed25519\"";
const B26: &str = "sig-b26=:wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6\
                   vuQv5lIp5WPpBKRCw==:";
const B26_BASE: &str = "\"date\": Tue, 20 Apr 2021 02:07:55 GMT
\"@method\": POST
\"@path\": /foo
\"@authority\": example.com
\"content-type\": application/json
\"content-length\": 18
\"@signature-params\": (\"date\" \"@method\" \"@path\" \"@authority\" \"content-type\" \
\"content-length\");created=1618884473;keyid=\"test-key-ed25519\"";

/// The fields of the request, B.2.
const REQUEST: [(&str, &str); 5] = [
    ("host", "example.com"),
    ("date", "Tue, 20 Apr 2021 02:07:55 GMT"),
    ("content-type", "application/json"),
    (
        "content-digest",
        "sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWX\
         vJwew==:",
    ),
    ("content-length", "18"),
];

/// The fields of the response.
const RESPONSE: [(&str, &str); 3] = [
    ("content-type", "application/json"),
    (
        "content-digest",
        "sha-512=:mEWXIS7MaLRuGgxOBdODa3xqM1XdEvxoYhvlCFJ41QJgJc4GTsPp29l5oGX69wWdXymyU0rjJuahq4l5\
         aGgfLQ==:",
    ),
    ("content-length", "23"),
];

/// Checks the text that is signed, the signature, and that no other text has it.
fn check(key: &Key, algorithm: Algorithm, fields: (&str, &str), expected: &str, text: &str) {
    assert_eq!(text, expected);
    let signatures = parse::read(fields.0, fields.1).unwrap();
    let value = signatures.value(&signatures.inputs[0]).unwrap();
    let verifier = key.verifier(algorithm).unwrap();
    assert!(verifier.verify(text.as_bytes(), value).is_ok());
    assert!(verifier.verify(text.to_uppercase().as_bytes(), value).is_err());
    for at in 0..value.len() {
        let mut broken = value.clone();
        broken[at] ^= 1;
        assert!(verifier.verify(text.as_bytes(), &broken).is_err(), "byte {at}");
    }
    assert!(verifier.verify(text.as_bytes(), &value[..value.len() - 1].to_vec()).is_err());
}

fn of_request(input: &Input<'_>) -> Result<String, SignatureError> {
    let fields = REQUEST.map(|(name, value)| {
        (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
    });
    let headers = HeaderMap::from_iter(fields);
    let view = RequestView {
        host: "example.com".into(),
        path: "/foo".into(),
        query: Some("param=Value&Pet=dog"),
        ..testing::view(&Method::POST, &headers)
    };
    base::write(input, &view)
}

#[test]
fn b_2_5_hmac_sha256() {
    let key = Key::from_secret(&STANDARD.decode(SHARED).unwrap()).unwrap();
    let signatures = parse::read(B25_INPUT, B25).unwrap();
    let text = of_request(&signatures.inputs[0]).unwrap();
    check(&key, Algorithm::HS256, (B25_INPUT, B25), B25_BASE, &text);
}

#[test]
fn b_2_6_ed25519() {
    let key = Key::from_pem(ED25519.as_bytes()).unwrap();
    let signatures = parse::read(B26_INPUT, B26).unwrap();
    let text = of_request(&signatures.inputs[0]).unwrap();
    check(&key, Algorithm::EdDSA, (B26_INPUT, B26), B26_BASE, &text);
}

/// Of a response: `@status` is given by hand, for it is no component of requests.
#[test]
fn b_2_4_ecdsa_p256_sha256() {
    let key = Key::from_pem(P256.as_bytes()).unwrap();
    let signatures = parse::read(B24_INPUT, B24).unwrap();
    let input = &signatures.inputs[0];
    assert_eq!(of_request(input), Err(SignatureError::ComponentUnknown));
    let text = base::write_with(input, |name, out| {
        let field = RESPONSE.iter().find(|(known, _)| *known == name);
        out.push_str(field.map_or("200", |(_, value)| value));
        Ok(())
    });
    check(&key, Algorithm::ES256, (B24_INPUT, B24), B24_BASE, &text.unwrap());
}
