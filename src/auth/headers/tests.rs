use std::sync::Arc;

use serde_json::json;

use super::encode::Unsendable;
use super::*;
use crate::auth::testing::{config, lines};

fn compile(yaml: &str) -> (IdentityHeaders, Vec<String>) {
    let mut problems = Problems::default();
    let headers = IdentityHeaders::compile(&config(yaml), &mut problems);
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
fn any_claim_can_be_sent_under_any_name() {
    let yaml = "identityHeaders:\n  X-Dept: claim:dept\n  x-n: claim:n\n  x-b: claim:b\n  \
                x-l: claim:l\n  x-o: claim:o\n  x-0: claim:zero\n";
    let (headers, problems) = compile(yaml);
    assert_eq!(problems, [""; 0]);
    let claims = json!({
        "dept": "sales", "n": 7, "b": true, "l": ["a", "b", 3], "o": {"x": 1}, "zero": null,
    });
    let facts = IdentityFacts { claims: claims.as_object().unwrap().clone().into(), ..facts() };
    let mut sent = sent(&headers, &facts);
    sent.sort();
    let expected = [("x-b", "true"), ("x-dept", "sales"), ("x-l", "a,b"), ("x-n", "7")];
    assert_eq!(sent, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let forging = json!({"l": ["a,b"]});
    let facts = IdentityFacts { claims: forging.as_object().unwrap().clone().into(), ..facts };
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
            "client-cert",
            "client-cert-chain",
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
    for reserved in ["content_length", "X_Request_Id", "signature", "x_api_key", "proxy_connection"]
    {
        let expected = format!("identity_header.reserved identityHeaders.{reserved}");
        assert_eq!(problem(&format!("{reserved}: subject")), [expected]);
    }
    let carrier = "apiKeyCarriers: {header: X-Partner-Key}\nidentityHeaders: {x_partner_key: plan}";
    let expected = ["identity_header.reserved identityHeaders.x_partner_key"];
    assert_eq!(compile(carrier).1, expected);
    let folded = ["identity_header.repeated identityHeaders.x_a"];
    assert_eq!(problem("x-a: subject, x_a: email"), folded);
    assert_eq!(
        problem("X-A: subject, x-a: email"),
        ["identity_header.repeated identityHeaders.x-a"]
    );
    let mut problems = Problems::default();
    let words = config("identityHeaders: {x-a: subjekt}");
    let _ = IdentityHeaders::compile(&words, &mut problems);
    assert_eq!(problems.0[0].help.as_deref(), Some("did you mean `subject`?"));
}

#[test]
fn a_claim_in_an_object_is_found_by_dots_unless_one_has_that_very_name() {
    let yaml = "identityHeaders:\n  x-name: claim:profile.name\n  x-deep: claim:a.b.c\n  \
                x-url: 'claim:https://example.com/roles'\n  x-none: claim:profile.none.name\n";
    let (headers, problems) = compile(yaml);
    assert_eq!(problems, [""; 0]);
    let with = |claims: serde_json::Value| {
        let facts = IdentityFacts { claims: claims.as_object().unwrap().clone().into(), ..facts() };
        sent(&headers, &facts)
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect::<Vec<_>>()
    };
    let nested = json!({
        "profile": {"name": "Ann", "none": "text"}, "a": {"b": {"c": 7}},
        "https://example.com/roles": ["x", "y"],
    });
    assert_eq!(with(nested), ["x-deep=7", "x-name=Ann", "x-url=x,y"]);
    let exact = json!({"profile.name": "exact", "profile": {"name": "nested"}, "a": {"b.c": 1}});
    assert_eq!(with(exact), ["x-name=exact"]);
    assert_eq!(with(json!({"profile": "Ann", "a": {"b": {"c": null}}})), [""; 0]);
}

#[test]
fn every_fact_and_encoding_has_a_word() {
    let yaml = "identityHeaders:\n  x-1: products\n  x-2: {fact: roles, encoding: json}\n  \
                x-3: apiKey\n  x-4: provider\n  x-5: tokenId\n  \
                x-6: {fact: subject, encoding: base64}\n  \
                x-7: {fact: 'claim:o', encoding: json}\n";
    let (headers, problems) = compile(yaml);
    assert_eq!(problems, [""; 0]);
    let claims = json!({"o": {"b": [1, "\u{e9}"]}});
    let facts = IdentityFacts {
        subject: "Jos\u{e9}".into(),
        provider: "main".into(),
        products: list(&["orders", "stock"]),
        roles: list(&["a,b", "c"]),
        api_key: Some("partner".into()),
        token_id: Some("t-1".into()),
        claims: claims.as_object().unwrap().clone().into(),
        ..IdentityFacts::default()
    };
    let expected = [
        ("x-1", "orders,stock"),
        ("x-2", r#"["a,b","c"]"#),
        ("x-3", "partner"),
        ("x-4", "main"),
        ("x-5", "t-1"),
        ("x-6", "Sm9zw6k="),
        ("x-7", r#"{"b":[1,"\u00e9"]}"#),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(sent(&headers, &facts), expected);
}

#[test]
fn a_value_has_a_longest_length_after_encoding() {
    let render = |yaml: &str, length: usize| {
        let facts = IdentityFacts { subject: "x".repeat(length).into(), ..facts() };
        compile(yaml).0.render(&facts).map(|headers| headers[0].1.len())
    };
    let plain = "identityHeaders: {x-a: subject}";
    assert_eq!(render(plain, 4096), Ok(4096));
    assert_eq!(render(plain, 4097), Err(Unsendable));
    let base64 = "identityHeaders: {x-a: {fact: subject, encoding: base64}}";
    assert_eq!(render(base64, 3072), Ok(4096));
    assert_eq!(render(base64, 3073), Err(Unsendable));
}

#[test]
fn headers_are_in_the_order_of_their_names_in_any_case() {
    let (headers, _) = compile("identityHeaders: {x-b: subject, X-C: subject, x-a: subject}");
    let names: Vec<String> = sent(&headers, &facts()).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["x-a", "x-b", "x-c"]);
}
