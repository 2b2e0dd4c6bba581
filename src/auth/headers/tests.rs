use std::sync::Arc;

use serde_json::json;

use super::super::testing::{config, lines};
use super::*;

fn compile(yaml: &str) -> (IdentityHeaders, Vec<String>) {
    let mut problems = Problems::default();
    let headers = IdentityHeaders::compile(&config(yaml).identity_headers, &mut problems);
    (headers, lines(&problems))
}

fn default_headers() -> IdentityHeaders {
    let (headers, problems) = compile("{}");
    assert_eq!(problems, [""; 0]);
    headers
}

fn facts() -> IdentityFacts {
    IdentityFacts { subject: "user-1".into(), ..IdentityFacts::default() }
}

fn list(items: &[&str]) -> Vec<Arc<str>> {
    items.iter().map(|item| (*item).into()).collect()
}

fn sent(headers: &IdentityHeaders, facts: &IdentityFacts) -> Vec<(String, String)> {
    let rendered = headers.render(facts).unwrap();
    let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
    rendered.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}

/// How a subject is sent.
fn subject(text: &str) -> Result<String, Unsendable> {
    one(Some(text))
}

#[test]
fn the_contract_of_the_seeds_is_the_default() {
    let facts = IdentityFacts {
        tenant_id: Some("acme".into()),
        roles: list(&["admin", "dev ops"]),
        scopes: list(&["orders:read", "orders:write"]),
        email: Some("u@example.test".into()),
        plan: Some("gold".into()),
        client_id: Some("app".into()),
        ..facts()
    };
    let expected = [
        ("x-auth-scopes", "orders:read orders:write"),
        ("x-client-id", "app"),
        ("x-client-plan", "gold"),
        ("x-tenant-id", "acme"),
        ("x-user-email", "u@example.test"),
        ("x-user-id", "user-1"),
        ("x-user-roles", "admin,dev ops"),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(sent(&default_headers(), &facts), expected);
}

#[test]
fn absent_facts_send_no_header() {
    let sent = sent(&default_headers(), &facts());
    assert_eq!(sent, [("x-user-id".to_owned(), "user-1".to_owned())]);
}

#[test]
fn line_breaks_and_other_controls_are_refused() {
    for text in ["a\rb", "a\nb", "a\r\nx-user-id: root", "a\0b", "a\tb", "a\x7fb", "\n"] {
        let facts = IdentityFacts { subject: text.into(), ..facts() };
        assert_eq!(default_headers().render(&facts), Err(Unsendable), "{text:?}");
    }
}

#[test]
fn a_list_item_with_the_separator_is_refused() {
    let roles = IdentityFacts { roles: list(&["user", "a,admin"]), ..facts() };
    assert_eq!(default_headers().render(&roles), Err(Unsendable));
    let scopes = IdentityFacts { scopes: list(&["a admin:full"]), ..facts() };
    assert_eq!(default_headers().render(&scopes), Err(Unsendable));
}

#[test]
fn what_http_cannot_carry_is_percent_encoded_without_two_texts_meeting() {
    assert_eq!(subject("José"), Ok("Jos%C3%A9".into()));
    assert_eq!(subject("Jos%C3%A9"), Ok("Jos%25C3%25A9".into()));
    assert_eq!(subject("a b"), Ok("a b".into()));
    assert_eq!(subject(" a"), Ok("%20a".into()));
    assert_eq!(subject("a "), Ok("a%20".into()));
    assert_eq!(subject(" "), Ok("%20".into()));
    assert_eq!(subject("auth0|1@x, \"y\""), Ok("auth0|1@x, \"y\"".into()));
    assert_eq!(joined(["a", " b"].into_iter(), ','), Ok("a,%20b".into()));
}

#[test]
fn any_claim_can_be_sent_under_any_name() {
    let yaml = "identityHeaders:\n  X-Dept: claim:dept\n  x-n: claim:n\n  x-b: claim:b\n  \
                x-l: claim:l\n  x-o: claim:o\n  x-0: claim:zero\n";
    let (headers, problems) = compile(yaml);
    assert_eq!(problems, [""; 0]);
    let claims = json!({
        "dept": "sales", "n": 7, "b": true, "l": ["a", "b", 3], "o": {"x": 1}, "zero": null,
    });
    let facts = IdentityFacts { claims: claims.as_object().unwrap().clone(), ..facts() };
    let mut sent = sent(&headers, &facts);
    sent.sort();
    let expected = [("x-b", "true"), ("x-dept", "sales"), ("x-l", "a,b"), ("x-n", "7")];
    assert_eq!(sent, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let forging = json!({"l": ["a,b"]});
    let facts = IdentityFacts { claims: forging.as_object().unwrap().clone(), ..facts };
    assert_eq!(headers.render(&facts), Err(Unsendable));
}

#[test]
fn every_identity_header_is_stripped_once_configured_or_not() {
    let (headers, _) = compile("identityHeaders: {X-User-Id: subject, x-who: email}");
    let stripped = headers.stripped();
    let mut names: Vec<&str> = stripped.iter().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "x-auth-scopes",
            "x-client-id",
            "x-client-plan",
            "x-tenant-id",
            "x-user-email",
            "x-user-id",
            "x-user-roles",
            "x-who",
        ]
    );
}

#[test]
fn words_and_names_that_cannot_be_are_errors() {
    let problem = |entry: &str| compile(&format!("identityHeaders: {{{entry}}}")).1;
    assert_eq!(problem("x-a: subjekt"), ["identity_header.fact identityHeaders.x-a"]);
    assert_eq!(problem("x-a: 'claim:'"), ["identity_header.fact identityHeaders.x-a"]);
    assert_eq!(problem("'x a': subject"), ["identity_header.name identityHeaders.x a"]);
    assert_eq!(problem("Host: subject"), ["identity_header.reserved identityHeaders.Host"]);
    assert_eq!(
        problem("X-A: subject, x-a: email"),
        ["identity_header.repeated identityHeaders.x-a"]
    );
    let mut problems = Problems::default();
    let words = config("identityHeaders: {x-a: subjekt}").identity_headers;
    let _ = IdentityHeaders::compile(&words, &mut problems);
    assert_eq!(problems.0[0].help.as_deref(), Some("did you mean `subject`?"));
}
