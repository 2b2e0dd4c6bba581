//! Versions, regions, claims and tenants, one rule at a time.

use super::super::Verdict;
use super::*;

/// What a table says where every route's credentials prove this caller.
fn told(table: &Table, request: &Request, who: Option<&Arc<Identity>>) -> String {
    ask(table, request, |_| who.cloned()).0
}

fn get(target: &str) -> Request {
    Request::new(&format!("GET {target}"))
}

/// R036: by header, with a default and without, and by path.
#[test]
fn versions_have_a_default_only_where_there_is_one() {
    let table = table(&[
        json!({"name": "v1", "pathPrefix": "/a", "acceptVersion": "v1"}),
        json!({"name": "v2", "pathPrefix": "/a", "acceptVersion": "2"}),
        json!({"name": "default", "pathPrefix": "/a"}),
        json!({"name": "only", "pathPrefix": "/b", "acceptVersion": "v2"}),
        json!({"name": "path1", "pathPrefix": "/v1/c"}),
        json!({"name": "path2", "pathPrefix": "/v2/c"}),
    ]);
    let at = |path: &str, version: &str| {
        answer(&table, &get(&format!("h{path}")).header("accept-version", version))
    };
    assert_eq!((at("/a", "v1"), at("/a", "1")), ("v1".into(), "v1".into()));
    assert_eq!((at("/a", "v2"), at("/a", "V2")), ("v2".into(), "v2".into()));
    assert_eq!((at("/a", "v3"), at("/a", "")), ("default".into(), "default".into()));
    assert_eq!(answer(&table, &get("h/a")), "default");
    assert_eq!((at("/b", "2"), at("/b", "v1")), ("only".into(), "404".into()));
    assert_eq!(answer(&table, &get("h/b")), "404");
    assert_eq!(answer(&table, &get("h/v1/c/x")), "path1");
    assert_eq!(answer(&table, &get("h/v2/c/x")), "path2");
    assert_eq!(answer(&table, &get("h/v3/c")), "404");
}

/// R032.
#[test]
fn regions_are_those_of_the_client_address() {
    let table = table(&[
        json!({"name": "all"}),
        json!({"name": "dach", "region": ["DE", "CH"], "priority": 1}),
        json!({"name": "eu", "region": "continent:EU"}),
    ]);
    for (client, expected) in [
        ("192.0.2.1", "dach"),
        ("2001:db8:1::1", "dach"),
        ("203.0.113.1", "dach"),
        ("203.0.113.65", "eu"),
        ("198.51.100.1", "eu"),
        ("198.51.100.200", "all"),
        ("127.0.0.1", "all"),
    ] {
        assert_eq!(answer(&table, &get("h/").from(client)), expected, "{client}");
    }
}

/// R031.
#[test]
fn claims_are_those_of_the_verified_caller() {
    let table = table(&[
        json!({"name": "all", "auth": "none"}),
        json!({"name": "pro", "claims": [{"name": "plan", "exact": "enterprise"}]}),
        json!({"name": "other", "pathPrefix": "/other"}),
    ]);
    let enterprise = identity(None, json!({"plan": "enterprise"}));
    let basic = identity(None, json!({"plan": "basic"}));
    let forged = get("h/").header("plan", "enterprise").header("x-client-plan", "enterprise");
    assert_eq!(told(&table, &get("h/"), Some(&enterprise)), "pro");
    assert_eq!(told(&table, &forged, Some(&basic)), "all");
    assert_eq!(told(&table, &forged, None), "all");
    assert_eq!(answer(&table, &get("h/other")), "other", "nobody asks where it does not matter");
}

#[test]
fn the_caller_is_asked_for_only_where_it_decides() {
    let plan = |name: &str, path: &str, auth: Value, priority: i32| {
        json!({"name": name, "path": path, "methods": ["GET"], "auth": auth, "priority": priority,
            "claims": [{"name": "plan", "exact": name}], "headers": [{"name": "x", "exact": "1"}]})
    };
    let table = table(&[
        plan("a", "/a", json!("required"), 0),
        json!({"name": "rest", "path": "/a", "methods": ["GET", "POST"]}),
        plan("b", "/b", json!("required"), 0),
        plan("c", "/b", json!({"anyOf": ["apiKey"]}), 1),
        json!({"name": "any-b", "pathPrefix": "/b"}),
    ]);
    let asked = |request: &Request, plan: &str| {
        let count = std::cell::Cell::new(0);
        let given = ask(&table, request, |_| {
            count.set(count.get() + 1);
            Some(identity(None, json!({"plan": plan})))
        });
        (given.0, count.get())
    };
    let with = |target: &str| Request::new(target).header("x", "1");
    assert_eq!(asked(&get("h/a"), "a"), ("rest".into(), 0), "another condition fails");
    assert_eq!(asked(&with("POST h/a"), "a"), ("rest".into(), 0), "another method");
    assert_eq!(asked(&with("GET h/a"), "a"), ("a".into(), 1));
    assert_eq!(asked(&with("GET h/a"), "x"), ("rest".into(), 1));
    assert_eq!(asked(&with("GET h/b"), "c"), ("c".into(), 1));
    assert_eq!(asked(&with("GET h/b"), "b"), ("b".into(), 2), "each by its own credentials");
    assert_eq!(asked(&with("GET h/b"), "x"), ("any-b".into(), 2));
    // Whether the level refuses the method is the caller's to decide too.
    assert_eq!(asked(&with("PUT h/b"), "b"), ("405 GET".into(), 2));
    assert_eq!(asked(&with("PUT h/b"), "x"), ("any-b".into(), 2));
}

/// R033: from a claim or key (the caller's tenant), or from the host.
#[test]
fn tenants_are_the_callers_or_the_hosts() {
    let table = table(&[
        json!({"name": "acme", "tenant": "acme"}),
        json!({"name": "both", "tenant": ["globex", "initech"]}),
        json!({"name": "default", "auth": "none"}),
        json!({"name": "public", "path": "/public", "tenant": "acme", "auth": "none"}),
    ]);
    let of = |tenant: &str| identity(Some(tenant), json!({}));
    let (acme, initech, stranger) = (of("acme"), of("initech"), of("stranger"));
    let no_tenant = identity(None, json!({}));
    assert_eq!(told(&table, &get("h/"), Some(&acme)), "acme");
    assert_eq!(told(&table, &get("h/"), Some(&initech)), "both");
    assert_eq!(told(&table, &get("h/"), Some(&stranger)), "default");
    assert_eq!(told(&table, &get("h/"), Some(&no_tenant)), "default");
    assert_eq!(told(&table, &get("h/"), None), "default");
    // The hosts of acme and globex.
    assert_eq!(told(&table, &get("a.x/"), None), "acme");
    assert_eq!(told(&table, &get("c.x/"), None), "both");
    assert_eq!(told(&table, &get("a.x/"), Some(&no_tenant)), "acme");
    assert_eq!(told(&table, &get("a.x/"), Some(&acme)), "acme");
    assert_eq!(told(&table, &get("a.x/"), Some(&initech)), "403", "at somebody else's door");
    assert_eq!(told(&table, &get("c.x/"), Some(&acme)), "403");
    assert_eq!(told(&table, &get("a.x/"), Some(&stranger)), "403");
    // A public route does not look at credentials.
    assert_eq!(told(&table, &get("a.x/public"), Some(&initech)), "public");
    assert_eq!(told(&table, &get("c.x/public"), Some(&initech)), "403");
}

#[test]
fn a_trace_says_what_the_caller_decided() {
    let table = table(&[
        json!({"name": "all", "auth": "none"}),
        json!({"name": "pro", "claims": [{"name": "plan", "exact": "enterprise"}]}),
        json!({"name": "acme", "tenant": "acme", "host": "a.x"}),
    ]);
    let trace = |target: &str, who: Option<Arc<Identity>>| {
        let request = get(target);
        let (_, mut caller) = ask(&table, &request, |_| who.clone());
        let set = table.credentials(RouteIndex(1)).unwrap();
        if caller.proof(set).is_none() {
            caller.learn(set, who.clone());
        }
        let words = |verdict| match verdict {
            Verdict::Chosen => "chosen".to_owned(),
            Verdict::Outranked(why) | Verdict::Failed(why) => why,
        };
        let told = table.trace(&request.view(), &caller);
        told.into_iter().map(|c| (c.name.to_string(), words(c.verdict))).collect::<HashMap<_, _>>()
    };
    let anybody = trace("h/", None);
    assert_eq!(anybody["all"], "chosen");
    assert_eq!(anybody["pro"], "not met without a verified caller: claim `plan` is `enterprise`");
    let basic = trace("h/", Some(identity(None, json!({"plan": "basic"}))));
    assert_eq!(basic["pro"], "not met: claim `plan` is `enterprise`");
    let pro = trace("h/", Some(identity(None, json!({"plan": "enterprise"}))));
    assert_eq!(pro["pro"], "chosen");
    assert_eq!(pro["all"], "`pro` has more conditions (1 before 0)");
    let foreign = trace("a.x/", Some(identity(Some("globex"), json!({}))));
    assert!(foreign["acme"].contains("another tenant than the host"), "{foreign:?}");
    assert!(foreign["all"].contains("not its tenant"), "{foreign:?}");
}
