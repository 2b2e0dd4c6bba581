use super::super::{Problem, Secret, Severity};
use super::*;

fn codes(loaded: &Loaded) -> Vec<&'static str> {
    loaded.problems.0.iter().map(|problem| problem.code).collect()
}

fn place_of(loaded: &Loaded) -> (Option<usize>, Option<usize>) {
    (loaded.problems.0[0].line, loaded.problems.0[0].column)
}

/// The paths of later problems after they have been placed, with their lines.
fn placed(loaded: &Loaded, paths: &[&str]) -> Vec<(String, Option<usize>)> {
    let problem = |path: &&str| Problem::error("test", *path, "wrong");
    let mut problems = Problems(paths.iter().map(problem).collect());
    loaded.place(&mut problems);
    assert!(problems.0.iter().all(|problem| problem.file.as_deref() == Some("f.yaml")));
    problems.0.into_iter().map(|problem| (problem.path, problem.line)).collect()
}

const ROUTES: &str = "\
routes:
  - {match: {}, upstream: {service: s}}
  - {name: b, match: {}, upstream: {service: s}}
  - {name: [c], match: {}, upstream: {service: s}}
  - name: d
    match: {}
    upstream: {service: s, splits: [{version: v}, {version: w, weight: 1}]}
    policies: {retries: x}
";

#[test]
fn later_problems_get_the_places_of_the_text() {
    let loaded = load_text("rateLimits:\n  a.b: {key: []}\n  c: {key: []}\n", "f.yaml");
    let paths = [
        "rateLimits.\"a.b\".key",
        "rateLimits.a.b.key",
        "rateLimits.c.window",
        "rateLimits.none",
        "routes",
        "",
    ];
    let lines = placed(&loaded, &paths).into_iter().map(|(_, line)| line);
    let expected = [Some(2), Some(2), Some(3), Some(1), Some(1), None];
    assert_eq!(lines.collect::<Vec<_>>(), expected);
}

#[test]
fn indexes_count_the_items_that_were_left_out() {
    let loaded = load_text(ROUTES, "f.yaml");
    let config = loaded.config.as_ref().unwrap();
    assert_eq!(config.routes.len(), 2, "a and c are left out");
    let found = placed(&loaded, &["routes[0].name", "routes[1].name"]);
    let expected = [("routes[1].name".to_owned(), Some(3)), ("routes[3].name".to_owned(), Some(5))];
    assert_eq!(found, expected);
}

#[test]
fn a_placed_problem_is_left_alone() {
    let loaded = load_text(ROUTES, "f.yaml");
    let mut problems = Problems(vec![Problem::error("test", "routes[0].name", "wrong")]);
    loaded.place(&mut problems);
    let once = problems.clone();
    loaded.place(&mut problems);
    assert_eq!(problems, once);
}

#[test]
fn what_only_follows_from_an_error_is_not_told() {
    let loaded = load_text(ROUTES, "f.yaml");
    // In the repaired configuration `d` is the second route.
    let follow =
        ["routes[1].upstream.splits", "routes[1].policies.retries", "routes[1].policies", "routes"];
    for path in follow {
        let told = placed(&loaded, &[path]);
        let silent = path != "routes";
        assert_eq!(told.is_empty(), silent, "{path}");
    }
    for path in ["routes[1]", "routes[1].upstream.service", "routes[0].policies.retries", ""] {
        assert_eq!(placed(&loaded, &[path]).len(), 1, "{path}");
    }
}

#[test]
fn the_hash_is_that_of_the_bytes() {
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(load_text("", "f.yaml").sha256, empty);
    let (bare, marked) = (load_text("{}", "f.yaml"), load_text("\u{FEFF}{}", "f.yaml"));
    assert_ne!(bare.sha256, marked.sha256);
    assert!(bare.problems.0.is_empty() && marked.problems.0.is_empty());
    assert!(marked.config.is_some());
}

#[test]
fn files_that_cannot_be_read_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let missing = load_file(&folder.path().join("none.yaml"));
    assert_eq!(codes(&missing), ["file.unreadable"]);
    assert!(missing.config.is_none());
    assert!(missing.problems.0[0].file.as_deref().unwrap().ends_with("none.yaml"));

    let path = folder.path().join("latin.yaml");
    std::fs::write(&path, b"routes: []\n# caf\xC3\xA9 f\xFCr\n").unwrap();
    let latin = load_file(&path);
    assert_eq!(codes(&latin), ["file.encoding"]);
    assert_eq!(place_of(&latin), (Some(2), Some(9)));
    assert_eq!(latin.sha256.len(), 64);

    std::fs::write(&path, "routes: []\n").unwrap();
    let sound = load_file(&path);
    assert!(sound.config.is_some() && sound.problems.0.is_empty());
}

#[test]
fn control_characters_and_depth_are_refused_with_their_place() {
    let bell = load_text("admin:\n  address: \u{7}\n", "f.yaml");
    assert_eq!((codes(&bell), place_of(&bell)), (vec!["yaml.syntax"], (Some(2), Some(12))));
    let deep = format!("routes: {}", "[".repeat(4000));
    assert!(load_text(&deep, "f.yaml").problems.has_errors());
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n\
                c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\n\
                e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e,*e]\n";
    assert_eq!(codes(&load_text(bomb, "f.yaml")), ["yaml.repetition"]);
}

#[test]
fn a_hundred_problems_are_enough() {
    let keys = |count: usize| (0..count).fold(String::new(), |all, n| format!("{all}odd{n}: 1\n"));
    assert_eq!(load_text(&keys(100), "f.yaml").problems.0.len(), 100);
    let many = load_text(&keys(130), "f.yaml");
    assert_eq!(many.problems.0.len(), 101);
    assert_eq!(codes(&many)[100], "file.problems");
    assert!(many.problems.0[100].message.contains("30 more"));
}

#[test]
fn a_sound_configuration_has_no_problems_and_a_broken_one_no_config() {
    let loaded = load_text("{}", "f.yaml");
    assert!(loaded.problems.0.is_empty() && loaded.config.is_some());
    let loaded = load_text("routes: [", "f.yaml");
    assert!(loaded.problems.has_errors() && loaded.config.is_none());
    let loaded = load_text("routes: 5", "f.yaml");
    assert_eq!(loaded.problems.0[0].severity, Severity::Error);
    assert!(loaded.config.is_some(), "what is left can still be compiled");
}

#[test]
fn no_literal_secret_is_shown_anywhere() {
    let text = "redis: {url: 'redis://:sk_live_1@r'}\n\
                apiKeys: [{id: a, key: sk_live_2}]\n\
                identityProviders:\n  m:\n    issuer: i\n    audience: a\n    \
                algorithms: [HS256]\n    secret: sk_live_3\n";
    let loaded = load_text(text, "f.yaml");
    assert_eq!(loaded.problems, Problems::default());
    let config = loaded.config.as_ref().unwrap();
    assert_eq!(config.api_keys[0].key, Secret::Literal("sk_live_2".to_owned()));
    let mut warned = Problems(vec![
        Problem::warning("test", "redis.url", "a literal"),
        Problem::warning("test", "apiKeys[0].id", "on the line of a secret"),
        Problem::warning("test", "identityProviders.m.secret", "a literal"),
    ]);
    loaded.place(&mut warned);
    let shown = [
        format!("{config:?}"),
        format!("{config:#?}"),
        format!("{loaded:?}"),
        serde_json::to_string(config).unwrap(),
        serde_yaml::to_string(config).unwrap(),
        loaded.render(&warned),
    ];
    for text in shown {
        assert!(!text.contains("sk_live"), "{text}");
        assert!(text.contains("hidden"), "{text}");
    }
}

#[test]
fn ten_thousand_routes_load_and_their_last_error_is_found() {
    let mut text = "services: {s: {endpoints: [{address: a}]}}\nroutes:\n".to_owned();
    for n in 0..10_000 {
        let _ = write!(
            text,
            "  - name: r{n}\n    match: {{host: h{n}.example.com, pathPrefix: /v1}}\n    \
             upstream: {{service: s, port: 80}}\n    policies: {{auth: none, timeoutMs: 100}}\n"
        );
    }
    let loaded = load_text(&text, "f.yaml");
    assert_eq!(loaded.config.unwrap().routes.len(), 10_000);
    text.push_str("    priorty: 1\n");
    let loaded = load_text(&text, "f.yaml");
    assert_eq!(loaded.problems.0[0].path, "routes[9999].priorty");
    assert_eq!(place_of(&loaded), (Some(40_003), Some(5)));
}

const SAMPLE: &str = include_str!("../../../tests/golden/every-key.yaml");

/// Characters that mean something to YAML.
const TELLING: &str = "[ \n\t:\\-{}\\[\\],\"'#&*!|>%@`~a0é\u{7}\r]";

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(100))]

    /// Whatever is done to a text, reading it ends in a configuration or in problems that have a
    /// place in the text and can be rendered.
    #[test]
    fn a_damaged_text_is_always_answered(
        edits in proptest::collection::vec((0_usize..4000, 0_usize..30, TELLING), 1..4)
    ) {
        let mut chars: Vec<char> = SAMPLE.chars().collect();
        for (at, length, insert) in edits {
            let at = at.min(chars.len());
            let end = (at + length.saturating_sub(20)).min(chars.len());
            chars.splice(at..end, insert.chars());
        }
        let text: String = chars.into_iter().collect();
        let loaded = load_text(&text, "f.yaml");
        proptest::prop_assert!(loaded.config.is_some() || loaded.problems.has_errors());
        let lines = text.split_inclusive(['\n', '\r']).count() + 1;
        for problem in &loaded.problems.0 {
            let place = (problem.line, problem.column);
            proptest::prop_assert!(
                matches!(place, (Some(line), Some(column)) if line <= lines && column > 0),
                "{problem}"
            );
        }
        let rendered = loaded.render(&loaded.problems);
        proptest::prop_assert_eq!(rendered.is_empty(), loaded.problems.0.is_empty());
    }
}

/// Any single slip near a secret leaves it unseen, in the report about the slip too.
#[test]
fn no_slip_of_the_pen_shows_a_secret() {
    let text = "redis:\n  url: redis://:AAAABBBB@h:6379\nadmin: {}\napiKeys:\n  - id: a\n    \
                key: AAAABBBB\n    plan: gold\nidentityProviders:\n  m:\n    issuer: i\n    \
                secret: \"AAAABBBB\" # AAAABBBB\nroutes: []\n";
    let chars: Vec<char> = text.chars().collect();
    let line_of = |at: usize| text.lines().nth(text[..at].matches('\n').count()).unwrap();
    let slips = ["", " ", "\n", ":", "\"", "{", "- ", "#"];
    for at in (0..text.len()).filter(|at| line_of(*at).contains("AAAA")) {
        for (slip, gone) in slips.iter().zip([2, 0, 0, 0, 0, 1, 0, 1]) {
            let mut chars = chars.clone();
            chars.splice(at..(at + gone).min(chars.len()), slip.chars());
            let slipped: String = chars.into_iter().collect();
            let loaded = load_text(&slipped, "f.yaml");
            let said = loaded.render(&loaded.problems);
            assert!(!said.contains("AAA") && !said.contains("BBB"), "{slipped}\n{said}");
        }
    }
}
