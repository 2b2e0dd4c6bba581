use serde_json::{Value, json};

use super::super::authorize;
use super::super::testing::{compile, config, fetched_provider, lines, policy, said};
use super::*;
use crate::edge::{Identity, IdentityFacts};
use crate::model::Resolved;

const KEY: &str = "apiKeys: [{id: a, key: '${env:A}'}]\n";

fn providers(yaml: &str) -> Providers {
    let (providers, problems) = compile(yaml, &Resolved::default());
    assert_eq!(problems, [""; 0]);
    providers
}

/// Three providers, two of them with one issuer.
fn three() -> Providers {
    let one = |name: &str, issuer: &str| {
        fetched_provider("[RS256]")
            .replace("identityProviders:\n", "")
            .replace("main", name)
            .replace("https://issuer.test/\n", &format!("{issuer}\n"))
    };
    let all = [one("alpha", "https://a/"), one("beta", "https://b/"), one("gamma", "https://b/")];
    providers(&format!("identityProviders:\n{}{KEY}", all.concat()))
}

fn problems(providers: &Providers, policies: &str) -> Problems {
    let mut problems = Problems::default();
    let written = config(&format!("policies: {policies}")).policies;
    AuthPolicy::compile(&written, providers, "routes[3].policies", &mut problems);
    problems
}

fn caller(facts: &Value) -> Identity {
    let list = |name: &str| {
        let items = facts[name].as_array().into_iter().flatten();
        items.map(|item| item.as_str().unwrap().into()).collect()
    };
    Identity::prove(IdentityFacts {
        scopes: list("scopes"),
        tenant_status: facts["status"].as_str().map(Into::into),
        ..IdentityFacts::default()
    })
}

#[test]
fn a_route_without_a_word_about_auth_is_an_error_and_closed() {
    let found = problems(&providers(KEY), "{}");
    assert_eq!(lines(&found), ["auth.missing routes[3].policies.auth"]);
    assert_eq!(found.0[0].help.as_deref(), Some("write `auth: required` or `auth: none`"));
    let mut ignored = Problems::default();
    let written = Policies::default();
    assert!(AuthPolicy::compile(&written, &providers(KEY), "", &mut ignored).is_required());
}

#[test]
fn required_needs_somebody_who_can_pass() {
    let nobody = ["auth.nobody routes[3].policies.auth"];
    assert_eq!(lines(&problems(&providers("{}"), "{auth: required}")), nobody);
    assert_eq!(lines(&problems(&providers(KEY), "{auth: required}")), [""; 0]);
    let provider = providers(&fetched_provider("[RS256]"));
    assert_eq!(lines(&problems(&provider, "{auth: required}")), [""; 0]);
    assert_eq!(lines(&problems(&providers("{}"), "{auth: none}")), [""; 0]);
    assert_eq!(lines(&problems(&providers(KEY), "{auth: {methods: [jwt]}}")), nobody);
    assert_eq!(
        lines(&problems(&provider, "{auth: {methods: [apiKey]}}")),
        ["auth.methods routes[3].policies.auth.methods", nobody[0]]
    );
}

/// A listener may verify certificates for the sake of transport; then they are nobody's login.
#[test]
fn certificates_are_accepted_only_where_the_route_names_them() {
    let listener = "listeners: [{name: a, address: '0.0.0.0:1', tls: {certificates: [], \
                    clientCertificate: {mode: optional, caFile: ca.pem}}}]\n";
    let asking = providers(&format!("{listener}{KEY}"));
    for (written, accepted) in [
        ("{auth: required}", "required (API key)"),
        ("{auth: {methods: []}}", "required (API key)"),
        ("{auth: {methods: [clientCertificate]}}", "required (client certificate)"),
        (
            "{auth: {methods: [clientCertificate, apiKey]}}",
            "required (API key or client certificate)",
        ),
    ] {
        assert_eq!(policy(&asking, written).to_string(), accepted, "{written}");
    }
    let found = problems(&providers("{}"), "{auth: {methods: [clientCertificate]}}");
    assert_eq!(lines(&found), ["auth.methods routes[3].policies.auth.methods"]);
    assert!(!found.has_errors(), "a listener may be added later");
    let nobody = problems(&providers(listener), "{auth: required}");
    assert_eq!(lines(&nobody), ["auth.nobody routes[3].policies.auth"]);
}

#[test]
fn unknown_providers_are_errors_with_a_suggestion() {
    let found = problems(&three(), "{auth: {providers: [alpha, bata]}}");
    assert_eq!(lines(&found), ["reference.unknown routes[3].policies.auth.providers[1]"]);
    assert_eq!(found.0[0].help.as_deref(), Some("did you mean `beta`?"));
}

#[test]
fn two_providers_of_one_issuer_cannot_both_be_accepted() {
    assert_eq!(
        lines(&problems(&three(), "{auth: required}")),
        ["auth.issuer routes[3].policies.auth"]
    );
    assert_eq!(lines(&problems(&three(), "{auth: {providers: [alpha, gamma]}}")), [""; 0]);
    assert_eq!(
        lines(&problems(&three(), "{auth: {providers: [gamma, beta]}}")),
        ["auth.issuer routes[3].policies.auth"]
    );
}

#[test]
fn settings_choose_among_what_is_configured() {
    let providers = three();
    let accepted = |auth: &str| {
        let policy = policy(&providers, &format!("{{auth: {auth}}}"));
        let credentials = policy.credentials.unwrap();
        let indexes: Vec<u32> = credentials.providers.iter().map(|index| index.0).collect();
        (indexes, credentials.api_keys)
    };
    assert_eq!(accepted("{providers: [gamma, alpha, alpha]}"), (vec![2, 0], true));
    assert_eq!(accepted("{providers: [beta], methods: [jwt]}"), (vec![1], false));
    assert_eq!(accepted("{methods: [apiKey]}"), (vec![], true));
    let contradiction = problems(&providers, "{auth: {providers: [beta], methods: [apiKey]}}");
    assert_eq!(lines(&contradiction), ["auth.providers routes[3].policies.auth.providers"]);
}

#[test]
fn an_open_route_cannot_ask_for_scopes_or_tenants() {
    let policies = "{auth: none, authorization: {requiredScopes: [a], tenantStatus: [ACTIVE]}}";
    let at = "auth.open routes[3].policies.authorization";
    assert_eq!(
        lines(&problems(&providers("{}"), policies)),
        [format!("{at}.requiredScopes"), format!("{at}.tenantStatus")]
    );
}

#[test]
fn scopes_are_scope_tokens() {
    let policies = "{auth: required, authorization: {requiredScopes: ['a b', ok, '']}}";
    let at = "auth.scope routes[3].policies.authorization.requiredScopes";
    assert_eq!(
        lines(&problems(&providers(KEY), policies)),
        [format!("{at}[0]"), format!("{at}[2]")]
    );
}

#[test]
fn all_scopes_are_needed_and_the_missing_one_is_named() {
    let policies =
        "{auth: required, authorization: {requiredScopes: ['orders:read', 'orders:write']}}";
    let policy = policy(&providers(KEY), policies);
    let ask = |scopes: Value| authorize(&policy, Some(&caller(&json!({ "scopes": scopes }))));
    assert!(ask(json!(["x", "orders:write", "orders:read"])).is_ok());
    let reject = ask(json!(["orders:read"])).unwrap_err();
    assert_eq!(said(&reject), "auth.scope_insufficient: missing required scope: orders:write");
    assert_eq!(reject.fault.status(), 403);
    assert_eq!(
        reject.headers[0].1,
        "Bearer realm=\"tidegate\", error=\"insufficient_scope\", \
         scope=\"orders:read orders:write\""
    );
    let none = said(&ask(json!([])).unwrap_err());
    assert_eq!(none, "auth.scope_insufficient: missing required scope: orders:read");
    // Neither a prefix nor another case is the scope.
    assert!(ask(json!(["orders", "orders:", "ORDERS:READ", "orders:write"])).is_err());
}

#[test]
fn the_tenant_has_one_of_the_statuses() {
    let policies = "{auth: required, authorization: {tenantStatus: [ACTIVE, TRIAL]}}";
    let policy = policy(&providers(KEY), policies);
    let ask = |facts: Value| authorize(&policy, Some(&caller(&facts))).map_err(|r| said(&r));
    assert_eq!(ask(json!({"status": "ACTIVE"})), Ok(()));
    assert_eq!(ask(json!({"status": "TRIAL"})), Ok(()));
    let refused = "auth.tenant_refused: the status of the tenant does not allow this";
    assert_eq!(ask(json!({"status": "SUSPENDED"})), Err(refused.into()));
    assert_eq!(ask(json!({"status": "active"})), Err(refused.into()));
    let unknown = "auth.tenant_refused: the status of the tenant is not known";
    assert_eq!(ask(json!({})), Err(unknown.into()));
}

#[test]
fn whoever_forgot_to_authenticate_opens_nothing() {
    let closed = policy(&providers(KEY), "{auth: required}");
    assert_eq!(authorize(&closed, None).unwrap_err().fault.status(), 401);
    let open = policy(&providers("{}"), "{auth: none}");
    assert!(authorize(&open, None).is_ok());
    assert!(!open.is_required());
}
