use super::*;

fn compile(yaml: &str) -> Result<Rewrite, Vec<&'static str>> {
    let model: model::Rewrite = serde_yaml::from_str(yaml).unwrap();
    let mut problems = Problems::default();
    let rewrite = Rewrite::compile(&model, "routes[0].rewrite", &mut problems);
    let codes = problems.0.iter().map(|problem| problem.code).collect();
    assert_eq!(rewrite.is_some(), problems.0.is_empty(), "{problems:?}");
    rewrite.ok_or(codes)
}

fn rewritten(yaml: &str, path: &str) -> String {
    let rewrite = compile(yaml).unwrap();
    rewrite.path(path).unwrap().unwrap_or_else(|| path.to_owned())
}

/// R034.
#[test]
fn a_prefix_is_taken_away_by_whole_segments() {
    for prefix in ["{stripPrefix: /api/v1}", "{stripPrefix: /api/v1/}"] {
        for (path, expected) in [
            ("/api/v1/users/42", "/users/42"),
            ("/api/v1/", "/"),
            ("/api/v1", "/"),
            ("/api/v10/users", "/api/v10/users"),
            ("/api", "/api"),
            ("/other/api/v1/x", "/other/api/v1/x"),
            ("/", "/"),
        ] {
            assert_eq!(rewritten(prefix, path), expected, "{prefix} {path}");
        }
    }
}

#[test]
fn a_prefix_is_replaced_by_whole_segments() {
    let rule = "{replacePrefix: {prefix: /a, with: /b/c}}";
    for (path, expected) in
        [("/a/x", "/b/c/x"), ("/a", "/b/c"), ("/a/", "/b/c/"), ("/ab", "/ab"), ("/x/a", "/x/a")]
    {
        assert_eq!(rewritten(rule, path), expected, "{path}");
    }
    let before_all = "{replacePrefix: {prefix: /, with: /b}}";
    assert_eq!(rewritten(before_all, "/x"), "/b/x");
    assert_eq!(rewritten(before_all, "/"), "/b/");
    let to_root = "{replacePrefix: {prefix: /a, with: /}}";
    assert_eq!(rewritten(to_root, "/a/x"), "/x");
    assert_eq!(rewritten(to_root, "/a"), "/");
}

#[test]
fn an_expression_is_about_the_whole_path() {
    let rule = r#"{regex: {pattern: "/u/(?<id>[0-9]+)(/.*)?", with: "/users/${id}${2}"}}"#;
    assert_eq!(rewritten(rule, "/u/42"), "/users/42");
    assert_eq!(rewritten(rule, "/u/42/orders"), "/users/42/orders");
    assert_eq!(rewritten(rule, "/x/u/42"), "/x/u/42");
    assert_eq!(rewritten(rule, "/u/x"), "/u/x");
    let rule = r#"{regex: {pattern: "/a|/b", with: "/c"}}"#;
    assert_eq!(rewritten(rule, "/a"), "/c");
    assert_eq!(rewritten(rule, "/a/x"), "/a/x");
    let dollar = r#"{regex: {pattern: "/(.*)", with: "/$1/$x/${1}"}}"#;
    assert_eq!(rewritten(dollar, "/a"), "/$1/$x/a");
}

/// What a client puts into groups cannot make what the configuration did not mean.
#[test]
fn a_result_that_is_not_in_normal_form_is_refused() {
    let between = compile(r#"{regex: {pattern: "/x(.*)", with: "/a/${1}/b"}}"#).unwrap();
    assert_eq!(between.path("/xy").unwrap().as_deref(), Some("/a/y/b"));
    for path in ["/x", "/x/y", "/x..", "/x."] {
        assert_eq!(between.path(path).unwrap_err().fault, Fault::PathRefused, "{path}");
    }
    let escape = compile(r#"{regex: {pattern: "/(.*)", with: "/%2${1}"}}"#);
    assert_eq!(escape.unwrap_err(), ["rewrite.path"]);
}

#[test]
fn what_cannot_be_meant_is_refused_beforehand() {
    for (yaml, code) in [
        ("{stripPrefix: /a, regex: {pattern: /a, with: /b}}", "rewrite.several"),
        ("{}", "rewrite.nothing"),
        ("{stripPrefix: /}", "rewrite.nothing"),
        ("{stripPrefix: api}", "rewrite.path"),
        ("{stripPrefix: /a/../b}", "rewrite.path"),
        ("{stripPrefix: /%61}", "rewrite.path"),
        ("{replacePrefix: {prefix: /a, with: /a/}}", "rewrite.nothing"),
        ("{replacePrefix: {prefix: /a, with: b}}", "rewrite.path"),
        ("{replacePrefix: {prefix: /a, with: \"/b?c\"}}", "rewrite.path"),
        ("{regex: {pattern: \"(\", with: /b}}", "rewrite.regex"),
        ("{regex: {pattern: \"a)|(b\", with: /b}}", "rewrite.regex"),
        ("{regex: {pattern: \"(a{1000}){1000}\", with: /b}}", "rewrite.regex"),
        ("{regex: {pattern: \"/(a)\", with: \"/${2}\"}}", "rewrite.template"),
        ("{regex: {pattern: \"/(a)\", with: \"/${name}\"}}", "rewrite.template"),
        ("{regex: {pattern: \"/(a)\", with: \"/${1\"}}", "rewrite.template"),
        ("{regex: {pattern: \"/(a)\", with: \"b\"}}", "rewrite.path"),
        ("{regex: {pattern: \"/(a)\", with: \"/../${1}\"}}", "rewrite.path"),
        ("{regex: {pattern: \"/(a)\", with: \"/b?x=${1}\"}}", "rewrite.path"),
        ("{regex: {pattern: \"/(a)\", with: \"/b//${1}\"}}", "rewrite.path"),
        ("{regex: {pattern: \"/(a)\", with: \"/b\\r\\nx\"}}", "rewrite.path"),
        ("{host: \"a b\"}", "rewrite.host"),
        ("{host: \"a.example:0\"}", "rewrite.host"),
    ] {
        assert_eq!(compile(yaml).err(), Some(vec![code]), "{yaml}");
    }
    assert_eq!(compile("{host: \"a.example:8080\"}").unwrap().host.unwrap(), "a.example:8080");
    assert!(compile(r#"{regex: {pattern: "(/a)/x", with: "${1}/y"}}"#).is_ok());
}
