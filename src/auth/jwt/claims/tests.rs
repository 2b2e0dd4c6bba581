use serde_json::{Value, json};

use super::*;

fn read(claims: &Value) -> IdentityFacts {
    read_with(claims, &ClaimNames::default(), &Tenants::default()).unwrap()
}

fn read_with(
    claims: &Value,
    names: &ClaimNames,
    tenants: &Tenants,
) -> Result<IdentityFacts, TokenError> {
    let reading =
        Reading { provider: &"main".into(), names, tenants, headers: &IdentityHeaders::default() };
    let claims = claims.as_object().unwrap();
    facts(&Object::of(claims), claims.clone().into(), &reading)
}

fn texts(list: &[Arc<str>]) -> Vec<&str> {
    list.iter().map(AsRef::as_ref).collect()
}

#[test]
fn scopes_read_alike_in_every_form() {
    for claims in [
        json!({"sub": "u", "scope": "a b"}),
        json!({"sub": "u", "scope": "  a   b "}),
        json!({"sub": "u", "scope": ["a", "b"]}),
        json!({"sub": "u", "scp": "a b"}),
        json!({"sub": "u", "scp": ["a", "b"]}),
        json!({"sub": "u", "scopes": ["a", "b"]}),
        json!({"sub": "u", "scope": null, "scp": ["a", "b"]}),
        json!({"sub": "u", "scope": ["a", 1, null, "", "b"]}),
    ] {
        assert_eq!(texts(&read(&claims).scopes), ["a", "b"], "{claims}");
    }
    // The configured claim wins, even when it grants nothing.
    assert!(read(&json!({"sub": "u", "scope": "", "scp": "a"})).scopes.is_empty());
    assert!(read(&json!({"sub": "u", "scope": 7})).scopes.is_empty());
}

#[test]
fn roles_are_a_list_or_one() {
    assert_eq!(texts(&read(&json!({"sub": "u", "roles": ["a", "b c"]})).roles), ["a", "b c"]);
    assert_eq!(texts(&read(&json!({"sub": "u", "roles": "a b"})).roles), ["a b"]);
    assert!(read(&json!({"sub": "u", "roles": {"a": 1}})).roles.is_empty());
    assert!(read(&json!({"sub": "u"})).roles.is_empty());
}

#[test]
fn absent_facts_are_none_rather_than_empty() {
    let claims = json!({
        "sub": "u", "tenant_id": "", "email": null, "plan": [], "client_id": {},
    });
    let facts = read(&claims);
    assert_eq!(facts.tenant_id, None);
    assert_eq!(facts.tenant_status, None);
    assert_eq!((facts.email, facts.plan, facts.client_id, facts.api_key), (None, None, None, None));
}

#[test]
fn facts_are_read_under_their_configured_names() {
    let names = ClaimNames {
        subject: "uid".into(),
        tenant_id: "https://example.test/org".into(),
        scopes: "perms".into(),
        ..ClaimNames::default()
    };
    let claims = json!({
        "sub": "other", "uid": 42, "https://example.test/org": "acme", "perms": ["x"],
        "email": "u@example.test", "plan": "gold", "client_id": "app",
    });
    let facts = read_with(&claims, &names, &Tenants::default()).unwrap();
    assert_eq!((&*facts.subject, facts.tenant_id.as_deref()), ("42", Some("acme")));
    assert_eq!(texts(&facts.scopes), ["x"]);
    assert_eq!(facts.email.as_deref(), Some("u@example.test"));
    assert_eq!((facts.plan.as_deref(), facts.client_id.as_deref()), (Some("gold"), Some("app")));
    assert_eq!(&*facts.provider, "main");
    assert_eq!(facts.claims["sub"], "other");
    let nobody = read_with(&json!({"sub": "u"}), &names, &Tenants::default());
    assert_eq!(nobody.unwrap_err(), TokenError::NoSubject);
}

#[test]
fn the_configuration_knows_a_tenant_better_than_the_token() {
    let tenants =
        BTreeMap::from([("acme".to_owned(), Tenant { status: "SUSPENDED".into(), hosts: vec![] })]);
    let tenants = Tenants::new(&tenants);
    let status = |tenant: &str| {
        let claims = json!({"sub": "u", "tenant_id": tenant, "tenant_status": "ACTIVE"});
        let facts = read_with(&claims, &ClaimNames::default(), &tenants).unwrap();
        facts.tenant_status.as_deref().map(str::to_owned)
    };
    assert_eq!(status("acme").as_deref(), Some("SUSPENDED"));
    assert_eq!(status("other").as_deref(), Some("ACTIVE"));
}
