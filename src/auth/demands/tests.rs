use serde_json::{Value, json};

use super::*;
use crate::auth::testing::{compile, config, lines, said};
use crate::auth::{AuthPolicy, Providers};
use crate::model::Resolved;

const KEY: &str = "apiKeys: [{id: a, key: '${env:A}'}]\n";

fn providers() -> Providers {
    compile(KEY, &Resolved::default()).0
}

fn policy(authorization: &str) -> (AuthPolicy, Problems) {
    let yaml = format!("policies: {{auth: required, authorization: {{{authorization}}}}}");
    let mut problems = Problems::default();
    let policies = config(&yaml).policies;
    let policy = AuthPolicy::compile(&policies, &providers(), "p", &mut problems);
    (policy, problems)
}

fn good(authorization: &str) -> AuthPolicy {
    let (policy, problems) = policy(authorization);
    assert_eq!(lines(&problems), [""; 0]);
    policy
}

fn found(authorization: &str) -> Vec<String> {
    lines(&policy(authorization).1)
}

fn caller(facts: &Value) -> IdentityFacts {
    let list = |name: &str| {
        let items = facts[name].as_array().into_iter().flatten();
        items.map(|item| item.as_str().unwrap().into()).collect()
    };
    IdentityFacts {
        scopes: list("scopes"),
        roles: list("roles"),
        products: list("products"),
        ..IdentityFacts::default()
    }
}

fn asked(policy: &AuthPolicy, method: &str, facts: &Value) -> Result<(), String> {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let caller = crate::edge::Identity::prove(caller(facts));
    crate::auth::testing::authorized_for(policy, &providers(), Some(&caller), &method).map_err(
        |reject| {
            assert_eq!(reject.fault.status(), 403);
            let challenge = reject.headers.first().map_or("", |(_, value)| value.to_str().unwrap());
            let scope = challenge.split_once("scope=\"").map_or("", |(_, scope)| scope);
            format!("{} [{}]", said(&reject), scope.trim_end_matches('"'))
        },
    )
}

#[test]
fn one_of_several_is_enough_and_all_are_named_when_none_is_there() {
    let policy = good("requiredScopes: [read], anyScope: [admin, write], anyRole: [clerk, boss]");
    let ask = |scopes: Value, roles: Value| {
        asked(&policy, "GET", &json!({"scopes": scopes, "roles": roles}))
    };
    assert_eq!(ask(json!(["read", "write"]), json!(["boss"])), Ok(()));
    assert_eq!(ask(json!(["read", "admin", "write"]), json!(["clerk"])), Ok(()));
    assert_eq!(
        ask(json!(["read"]), json!(["boss"])),
        Err("auth.scope_insufficient: missing any scope of: admin, write [read admin]".into())
    );
    assert_eq!(
        ask(json!(["write"]), json!(["boss"])),
        Err("auth.scope_insufficient: missing required scope: read [read admin]".into())
    );
    assert_eq!(
        ask(json!(["read", "write"]), json!(["bos", "admin"])),
        Err("auth.role_insufficient: missing any role of: clerk, boss [read admin]".into())
    );
}

#[test]
fn every_role_is_needed_and_a_scope_is_no_role() {
    let policy = good("requiredRoles: [clerk, boss]");
    let ask = |facts: Value| asked(&policy, "GET", &facts);
    assert_eq!(ask(json!({"roles": ["boss", "clerk"]})), Ok(()));
    assert_eq!(
        ask(json!({"roles": ["clerk"], "scopes": ["boss"]})),
        Err("auth.role_insufficient: missing required role: boss []".into())
    );
}

/// R111: `GET` needs one scope, `POST` another besides.
#[test]
fn methods_need_more_and_head_is_judged_as_get() {
    let policy = good(
        "requiredScopes: [in], methods: {GET: {requiredScopes: [read]}, \
         DELETE: {anyScope: [admin, root], requiredRoles: [boss]}}",
    );
    let ask = |method: &str, scopes: Value, roles: Value| {
        asked(&policy, method, &json!({"scopes": scopes, "roles": roles}))
    };
    assert_eq!(ask("POST", json!(["in"]), json!([])), Ok(()));
    for method in ["GET", "HEAD"] {
        assert_eq!(ask(method, json!(["in", "read"]), json!([])), Ok(()));
        assert_eq!(
            ask(method, json!(["in"]), json!([])),
            Err("auth.scope_insufficient: missing required scope: read [in read]".into())
        );
        let lacking = ask(method, json!(["read"]), json!([])).unwrap_err();
        assert_eq!(lacking, "auth.scope_insufficient: missing required scope: in [in read]");
    }
    assert_eq!(ask("DELETE", json!(["in", "root"]), json!(["boss"])), Ok(()));
    assert_eq!(
        ask("DELETE", json!(["in", "read"]), json!(["boss"])),
        Err("auth.scope_insufficient: missing any scope of: admin, root [in admin]".into())
    );
    assert_eq!(
        ask("DELETE", json!(["in", "root"]), json!([])),
        Err("auth.role_insufficient: missing required role: boss [in admin]".into())
    );
    assert_eq!(
        ask("delete", json!(["in"]), json!([])),
        Ok(()),
        "methods are case-sensitive (RFC 9110, 9.1): services do not take this for DELETE"
    );
}

/// R115: unknown means refused.
#[test]
fn a_product_is_for_those_who_have_it() {
    let policy = good("product: orders");
    assert_eq!(asked(&policy, "GET", &json!({"products": ["stock", "orders"]})), Ok(()));
    let refused = "auth.product_refused: not allowed to use the product: orders []";
    for products in [json!(["stock"]), json!([]), json!(["order"]), json!(["ORDERS"])] {
        let said = asked(&policy, "GET", &json!({"products": products}));
        assert_eq!(said, Err(refused.into()), "{products}");
    }
}

#[test]
fn contradictions_and_slips_are_found_when_checking() {
    let at = "p.authorization";
    let one = |authorization: &str| found(authorization);
    assert_eq!(one("anyScope: []"), [format!("auth.empty {at}.anyScope")]);
    assert_eq!(one("anyRole: []"), [format!("auth.empty {at}.anyRole")]);
    assert_eq!(one("requiredRoles: ['']"), [format!("auth.role {at}.requiredRoles[0]")]);
    assert_eq!(one("anyScope: [a, 'b c']"), [format!("auth.scope {at}.anyScope[1]")]);
    assert_eq!(one("product: ''"), [format!("auth.product {at}.product")]);
    assert_eq!(
        one("methods: {GET: {anyRole: []}}"),
        [format!("auth.empty {at}.methods.GET.anyRole")]
    );
    assert_eq!(one("methods: {PUT: {}}"), [format!("auth.methods_empty {at}.methods.PUT")]);
    for method in ["HEAD", "TRACE", "CONNECT", "delete", "'GE T'", "''"] {
        let name = method.trim_matches('\'');
        assert_eq!(
            one(&format!("methods: {{{method}: {{requiredRoles: [a]}}}}")),
            [format!("auth.method {at}.methods.{name}")]
        );
    }
    let help = policy("methods: {delete: {requiredRoles: [a]}}").1.0[0].help.clone();
    assert_eq!(help.as_deref(), Some("did you mean `DELETE`?"));
    assert!(asked(&policy("anyRole: []").0, "GET", &json!({"roles": ["a"]})).is_err());
}

#[test]
fn methods_that_a_route_never_sees_are_said() {
    let taken = |taken: &[&str], methods: &str| {
        let taken: Vec<_> = taken.iter().map(|name| model::Method((*name).to_owned())).collect();
        let policy = good(&format!("methods: {{{methods}: {{requiredRoles: [a]}}}}"));
        let mut problems = Problems::default();
        policy.check_methods(&taken, "p", &mut problems);
        (lines(&problems), problems.has_errors())
    };
    assert_eq!(taken(&[], "DELETE"), (vec![], false));
    assert_eq!(taken(&["GET", "DELETE"], "DELETE"), (vec![], false));
    assert_eq!(taken(&["HEAD"], "GET"), (vec![], false));
    assert_eq!(taken(&["PURGE"], "PURGE"), (vec![], false));
    let unused = "auth.method_unused p.authorization.methods.DELETE".to_owned();
    assert_eq!(taken(&["GET"], "DELETE"), (vec![unused], false));
    let unknown = "auth.method p.authorization.methods.DELTE".to_owned();
    assert_eq!(taken(&[], "DELTE"), (vec![unknown], true));
}

#[test]
fn what_needs_a_caller_is_an_error_where_nobody_is_asked_for() {
    let yaml = "policies: {auth: none, authorization: {requiredScopes: [a], anyScope: [a], \
                requiredRoles: [a], anyRole: [a], tenantStatus: [A], product: a, \
                methods: {GET: {anyRole: [a]}}, deny: [10.0.0.0/8]}}";
    let mut problems = Problems::default();
    AuthPolicy::compile(&config(yaml).policies, &providers(), "p", &mut problems);
    let keys = [
        "requiredScopes",
        "anyScope",
        "requiredRoles",
        "anyRole",
        "tenantStatus",
        "product",
        "methods.GET",
    ];
    assert_eq!(lines(&problems), keys.map(|key| format!("auth.open p.authorization.{key}")));
}

#[test]
fn explanations_say_all_of_it() {
    let policy = good(
        "requiredScopes: [a, b], anyScope: [c, d], requiredRoles: [r], product: orders, \
         allow: [10.0.0.0/8], deny: [10.9.0.0/16, 10.8.0.0/16], tenantStatus: [ACTIVE], \
         methods: {DELETE: {anyRole: [x, y]}}",
    );
    assert_eq!(
        policy.to_string(),
        "required (API key), from 10.0.0.0/8, not from 10.9.0.0/16 10.8.0.0/16, scopes a b, \
         scope c or d, roles r, product orders, tenant status ACTIVE; DELETE, scopes a b, \
         scope c or d, roles r, role x or y"
    );
}
