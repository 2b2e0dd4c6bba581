use super::*;

#[expect(clippy::result_large_err, reason = "a test has the room")]
fn host(text: &str) -> Result<HostPattern, Problem> {
    let mut problems = Problems::default();
    let model = Match { host: Some(text.to_owned()), ..Match::default() };
    let pattern = HostPattern::compile(&model, "routes[3].match", &mut problems);
    pattern.ok_or_else(|| problems.0.remove(0))
}

#[expect(clippy::result_large_err, reason = "a test has the room")]
fn path(kind: &str, text: &str) -> Result<PathPattern, Problem> {
    let mut problems = Problems::default();
    let when = |key: &str| (kind == key).then(|| text.to_owned());
    let model = Match {
        path: when("path"),
        path_prefix: when("pathPrefix"),
        path_regex: when("pathRegex"),
        ..Match::default()
    };
    let pattern = PathPattern::compile(&model, "routes[3].match", &mut problems);
    pattern.ok_or_else(|| problems.0.remove(0))
}

#[test]
fn hosts_are_compared_in_normal_form() {
    assert_eq!(host("API.example.com.").unwrap(), HostPattern::Exact("api.example.com".into()));
    assert_eq!(host("*.Example.com").unwrap(), HostPattern::Wildcard("example.com".into()));
    assert_eq!(host("[0::1]").unwrap(), HostPattern::Exact("[::1]".into()));
    for wrong in ["", "*", "a.*.b", "*a.b", "*.", "a:80", "http://a", "a/b", "*.1.2.3.4", "*.[::1]"]
    {
        let problem = host(wrong).unwrap_err();
        assert_eq!(problem.code, "route.host_invalid", "{wrong}");
        assert_eq!(problem.path, "routes[3].match.host");
        assert!(problem.help.is_some());
    }
}

#[test]
fn a_wildcard_takes_names_below_it() {
    let pattern = host("*.example.com").unwrap();
    assert!(pattern.takes("a.example.com") && pattern.takes("a.b.example.com"));
    for other in ["example.com", "aexample.com", ".example.com", "a.example.com.evil", "com"] {
        assert!(!pattern.takes(other), "{other}");
    }
    assert!(pattern.takes(&pattern.example()));
}

#[test]
fn prefixes_take_whole_segments() {
    let takes = |prefix: &str, request: &str| path("pathPrefix", prefix).unwrap().takes(request);
    assert!(takes("/v1/admin", "/v1/admin"));
    assert!(takes("/v1/admin", "/v1/admin/"));
    assert!(takes("/v1/admin", "/v1/admin/x"));
    assert!(!takes("/v1/admin", "/v1/administrator"));
    assert!(takes("/v1/admin/", "/v1/admin/x"));
    assert!(takes("/v1/admin/", "/v1/admin/"));
    assert!(!takes("/v1/admin/", "/v1/admin"));
    assert!(takes("/", "/") && takes("/", "/x"));
}

#[test]
fn exact_paths_take_nothing_else() {
    let health = path("path", "/health").unwrap();
    assert!(health.takes("/health"));
    assert!(!health.takes("/healthz") && !health.takes("/health/"));
}

#[test]
fn expressions_take_whole_paths_in_linear_time() {
    let uuid = path("pathRegex", "^/users/[a-f0-9-]{36}$").unwrap();
    let id = "0f8fad5b-d9cb-469f-a165-70867728950e";
    assert!(uuid.takes(&format!("/users/{id}")));
    assert!(!uuid.takes(&format!("/users/{id}0")) && !uuid.takes(&format!("/users/{}", &id[1..])));
    assert!(!uuid.takes(&format!("/users/{id}/x")) && !uuid.takes(&format!("/x/users/{id}")));
    let evil = path("pathRegex", "/(a+)+b").unwrap();
    assert!(!evil.takes(&format!("/{}", "a".repeat(64 * 1024))));
}

#[test]
fn no_path_is_any_path() {
    let any = path("", "").unwrap();
    assert!(matches!(&any, PathPattern::Prefix(root) if **root == *"/"));
}

#[test]
fn wrong_paths_are_reported_with_the_right_one() {
    for (kind, text, code, help) in [
        ("pathPrefix", "v1", "route.path_invalid", "write `/v1`"),
        ("path", "", "route.path_invalid", "write `/`"),
        ("path", "/a//b", "route.path_invalid", "write `/a/b`"),
        ("pathPrefix", "/a/../b", "route.path_invalid", "write `/b`"),
        ("path", "/%61", "route.path_invalid", "write `/a`"),
        ("path", "/{id}", "route.path_invalid", "write `/%7Bid%7D`"),
        ("path", "/a;b", "route.path_invalid", "requests with such a path are refused before"),
        ("path", "/é", "route.path_invalid", "requests with such a path are refused before"),
        ("pathRegex", "/a(", "route.regex_invalid", "unclosed group"),
        ("pathRegex", "^v1/.*", "route.path_invalid", "write `/v1/.*`"),
    ] {
        let problem = path(kind, text).unwrap_err();
        assert_eq!((problem.code, &*problem.path), (code, &*format!("routes[3].match.{kind}")));
        let given = problem.help.unwrap();
        assert!(given.starts_with(help), "{text}: {given}");
    }
}

#[test]
fn one_kind_of_path_at_most() {
    let model = Match {
        path: Some("/a".to_owned()),
        path_regex: Some("/b".to_owned()),
        ..Match::default()
    };
    let mut problems = Problems::default();
    assert!(PathPattern::compile(&model, "routes[3].match", &mut problems).is_none());
    assert_eq!(problems.0[0].code, "route.path_kinds");
    assert_eq!(problems.0[0].path, "routes[3].match");
}
