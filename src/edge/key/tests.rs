use http::{HeaderMap, HeaderValue, Method};
use serde_json::json;

use super::super::{IdentityFacts, Scheme};
use super::*;

fn caller() -> Identity {
    let claims = json!({"org": "o", "age": 7, "nothing": null, "list": ["a"]});
    Identity::prove(IdentityFacts {
        subject: "sub".into(),
        tenant_id: Some("acme".into()),
        plan: Some("gold".into()),
        api_key: Some("key-1".into()),
        claims: claims.as_object().unwrap().clone().into(),
        ..IdentityFacts::default()
    })
}

fn read(part: &KeyPart, identity: Option<&Identity>) -> Option<Vec<u8>> {
    let mut headers = HeaderMap::new();
    headers.insert("x-tenant-id", HeaderValue::from_static("forged"));
    headers.insert("cookie", HeaderValue::from_static("s=1"));
    let view = RequestView {
        method: &Method::GET,
        scheme: Scheme::Http,
        host: Cow::Borrowed("h"),
        port: None,
        path: Cow::Borrowed("/"),
        query: None,
        headers: &headers,
        client: IpAddr::from([1, 2, 3, 4]),
        peer_trusted: false,
        certificate: None,
    };
    let facts = Facts { view: &view, identity, request_id: "rid", route: "orders", service: "api" };
    Part::compile(part).unwrap().read(&facts).map(Cow::into_owned)
}

#[test]
fn facts_about_the_caller_come_from_the_proof_alone() {
    let caller = caller();
    for (part, value) in [
        (KeyPart::TenantId, "acme"),
        (KeyPart::UserId, "sub"),
        (KeyPart::ApiKey, "key-1"),
        (KeyPart::Plan, "gold"),
        (KeyPart::Claim("org".to_owned()), "o"),
        (KeyPart::Claim("age".to_owned()), "7"),
        (KeyPart::Claim("list".to_owned()), r#"["a"]"#),
    ] {
        assert_eq!(read(&part, Some(&caller)).as_deref(), Some(value.as_bytes()), "{part:?}");
        assert_eq!(read(&part, None), None, "{part:?}");
    }
    assert_eq!(read(&KeyPart::Claim("nothing".to_owned()), Some(&caller)), None);
    assert_eq!(read(&KeyPart::Claim("absent".to_owned()), Some(&caller)), None);
    let bare = Identity::prove(IdentityFacts::default());
    assert_eq!(read(&KeyPart::TenantId, Some(&bare)), None);
}

#[test]
fn facts_about_the_request_need_no_caller() {
    for (part, value) in [
        (KeyPart::ClientIp, &[1, 2, 3, 4][..]),
        (KeyPart::RouteName, b"orders"),
        (KeyPart::RequestId, b"rid"),
        (KeyPart::Header("X-Tenant-Id".to_owned()), b"forged"),
        (KeyPart::Cookie("s".to_owned()), b"1"),
    ] {
        assert_eq!(read(&part, None).as_deref(), Some(value), "{part:?}");
    }
    assert_eq!(read(&KeyPart::Header("x-absent".to_owned()), None), None);
    assert_eq!(read(&KeyPart::Cookie("absent".to_owned()), None), None);
    assert_eq!(read(&KeyPart::Random, None), None);
}

#[test]
fn a_name_that_no_header_has_is_refused() {
    assert!(Part::compile(&KeyPart::Header("x y".to_owned())).is_err());
    assert!(Part::compile(&KeyPart::Header(String::new())).is_err());
}
