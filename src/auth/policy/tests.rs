use serde_json::{Value, json};

use super::*;
use crate::auth::testing::{authorized, compile, config, fetched_provider, lines, policy, said};
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
    assert_eq!(lines(&problems(&providers(KEY), "{auth: {anyOf: [jwt]}}")), nobody);
    assert_eq!(
        lines(&problems(&provider, "{auth: {anyOf: [apiKey]}}")),
        ["auth.methods routes[3].policies.auth.anyOf", nobody[0]]
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
        ("{auth: {anyOf: []}}", "required (API key)"),
        ("{auth: {anyOf: [clientCertificate]}}", "required (client certificate)"),
        (
            "{auth: {anyOf: [clientCertificate, apiKey]}}",
            "required (API key or client certificate)",
        ),
    ] {
        assert_eq!(policy(&asking, written).to_string(), accepted, "{written}");
    }
    let found = problems(&providers("{}"), "{auth: {anyOf: [clientCertificate]}}");
    assert_eq!(lines(&found), ["auth.methods routes[3].policies.auth.anyOf"]);
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
    assert_eq!(accepted("{providers: [beta], anyOf: [jwt]}"), (vec![1], false));
    assert_eq!(accepted("{anyOf: [apiKey]}"), (vec![], true));
    let contradiction = problems(&providers, "{auth: {providers: [beta], anyOf: [apiKey]}}");
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
    let ask = |scopes: Value| {
        authorized(&policy, &providers(KEY), Some(&caller(&json!({ "scopes": scopes }))))
    };
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
    let ask = |facts: Value| {
        authorized(&policy, &providers(KEY), Some(&caller(&facts))).map_err(|r| said(&r))
    };
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
    assert_eq!(authorized(&closed, &providers(KEY), None).unwrap_err().fault.status(), 401);
    let open = policy(&providers("{}"), "{auth: none}");
    assert!(authorized(&open, &providers("{}"), None).is_ok());
    assert!(!open.is_required());
}

/// A provider that is asked, a further one, and one with keys.
fn asked() -> Providers {
    let one = |name: &str| {
        format!(
            "  {name}: {{issuer: https://{name}/, audience: a, introspection: \
             {{url: https://{name}/i, clientId: g, clientSecret: '${{env:S}}'}}}}\n"
        )
    };
    let keyed = fetched_provider("[RS256]").replace("identityProviders:\n", "");
    providers(&format!("identityProviders:\n{}{}{keyed}{KEY}", one("alpha"), one("beta")))
}

#[test]
fn opaque_tokens_have_one_issuer_to_go_to() {
    let providers = asked();
    let found = problems(&providers, "{auth: required}");
    assert_eq!(lines(&found), ["auth.introspection routes[3].policies.auth"]);
    assert!(found.0[0].message.contains("`alpha`, `beta`"), "{}", found.0[0].message);
    for good in [
        "{auth: {providers: [alpha]}}",
        "{auth: {providers: [beta, main]}}",
        "{auth: {anyOf: [jwt]}}",
        "{auth: {providers: [alpha], anyOf: [introspection]}}",
        "{auth: {anyOf: [apiKey]}}",
    ] {
        assert_eq!(lines(&problems(&providers, good)), [""; 0], "{good}");
    }
    let none = problems(&providers, "{auth: {providers: [main], anyOf: [jwt, introspection]}}");
    assert_eq!(lines(&none), ["auth.methods routes[3].policies.auth.anyOf"]);
    let order = |written: &str| {
        let policy = policy(&providers, written);
        let credentials = policy.credentials().unwrap();
        (credentials.order.clone(), credentials.providers.len(), credentials.introspected.len())
    };
    let token = vec![Kind::Token];
    assert_eq!(order("auth: {providers: [alpha], anyOf: [introspection]}"), (token.clone(), 0, 1));
    assert_eq!(order("auth: {providers: [alpha, main], anyOf: [jwt]}"), (token, 1, 0));
    let both = order("auth: {providers: [alpha, main], anyOf: [apiKey, introspection, jwt]}");
    assert_eq!(both, (vec![Kind::ApiKey, Kind::Token], 1, 1));
}

#[test]
fn a_scope_that_no_certificate_can_have_is_a_warning() {
    let listener = "listeners: [{name: a, address: '0.0.0.0:1', tls: {certificates: [], \
                    clientCertificate: {mode: required, caFile: ca.pem}}}]\n\
                    clientCertificates: {callers: {shop: {scopes: [a]}}}\n";
    let providers = providers(&format!("{listener}{KEY}"));
    let found = |any_of: &str| {
        problems(
            &providers,
            &format!("{{auth: {{anyOf: {any_of}}}, authorization: {{requiredScopes: [a, b]}}}}"),
        )
    };
    let only = found("[clientCertificate]");
    let path = "routes[3].policies.authorization.requiredScopes[1]";
    assert_eq!(lines(&only), [format!("auth.unreachable {path}")]);
    assert!(!only.has_errors());
    assert_eq!(lines(&found("[clientCertificate, apiKey]")), [""; 0]);
}
