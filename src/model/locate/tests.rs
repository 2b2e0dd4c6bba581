use super::super::path::parse;
use super::*;

fn spot(text: &str, path: &str) -> Option<(usize, usize)> {
    let extent = Tree::read(text).find(&parse(path))?;
    Some((extent.start.line, extent.start.column))
}

#[test]
fn keys_and_items_are_found() {
    let text = "# ä\na: {b: [1, {c: 2}]}\nd:\n  - e: 1\n    f: 2\n  -\n    - x\n";
    let expected = [
        ("", (2, 1)),
        ("a", (2, 1)),
        ("a.b", (2, 5)),
        ("a.b[0]", (2, 9)),
        ("a.b[1]", (2, 12)),
        ("a.b[1].c", (2, 13)),
        ("d", (3, 1)),
        ("d[0]", (4, 5)),
        ("d[0].e", (4, 5)),
        ("d[0].f", (5, 5)),
        ("d[1][0]", (7, 7)),
    ];
    for (path, place) in expected {
        assert_eq!(spot(text, path), Some(place), "{path}");
    }
}

#[test]
fn what_is_not_there_leads_to_what_is_above() {
    let text = "a:\n  b: 1\nc: [1]\n";
    for (path, place) in [
        ("a.x", (1, 1)),
        ("a.x.y[3]", (1, 1)),
        ("a.b.x", (2, 3)),
        ("c[1]", (3, 1)),
        ("c.x", (3, 1)),
        ("x", (1, 1)),
        ("[0]", (1, 1)),
    ] {
        assert_eq!(spot(text, path), Some(place), "{path}");
    }
    assert_eq!(spot("", "a"), None);
    assert_eq!(spot("# nothing\n", ""), None);
}

#[test]
fn keys_with_dots_are_found_with_and_without_quotes() {
    let text = "l:\n  a.b: {k: 1}\n  a: {b: 2}\n  \"c d\": 3\n";
    assert_eq!(spot(text, "l.\"a.b\".k"), Some((2, 9)));
    assert_eq!(spot(text, "l.a.b"), Some((3, 7)), "the shorter key wins");
    assert_eq!(spot("l: {a.b: {k: 1}}", "l.a.b.k"), Some((1, 11)));
    assert_eq!(spot(text, "l.\"c d\""), Some((4, 3)));
    assert_eq!(spot(text, "l.c d"), Some((4, 3)));
}

#[test]
fn aliases_and_merges_lead_to_what_was_written() {
    let text = "base: &b {x: 1}\nmore: &m {y: 1}\nuse: *b\nmix:\n  <<: [*b, *m]\n  z: 1\n";
    assert_eq!(spot(text, "use"), Some((3, 1)));
    assert_eq!(spot(text, "use.x"), Some((1, 11)));
    assert_eq!(spot(text, "mix.z"), Some((6, 3)));
    assert_eq!(spot(text, "mix.y"), Some((2, 11)));
    assert_eq!(spot(text, "mix.none"), Some((4, 1)));
    assert_eq!(spot("a: &a [*a]\n", "a[0][0][0]"), Some((1, 8)), "a loop ends");
}

#[test]
fn line_endings_do_not_matter() {
    for text in ["a: 1\nb: 2\n", "a: 1\r\nb: 2\r\n", "a: 1\rb: 2\r"] {
        assert_eq!(spot(text, "b"), Some((2, 1)), "{text:?}");
    }
}

#[test]
fn a_broken_text_is_known_up_to_where_it_breaks() {
    let tree = Tree::read("a:\n  b: 1\nc: [\n");
    assert_eq!(tree.find(&parse("a.b")).map(|extent| extent.start.line), Some(2));
}

#[test]
fn every_repeated_key_is_found_once_for_each_repetition() {
    let text = "a: {b: 1, b: 2, b: 3}\nc: [{d: 1, d: 1}]\na: 1\n";
    let found = Tree::read(text).duplicates();
    let found: Vec<_> = found
        .iter()
        .map(|twin| (twin.path.as_str(), twin.first.start.column, twin.again.start.column))
        .collect();
    assert_eq!(found, [("a.b", 5, 11), ("a.b", 5, 17), ("c[0].d", 6, 12), ("a", 1, 1)]);
}

#[test]
fn secrets_are_covered_wherever_they_stand() {
    let text = "redis: {url: S1, timeout: 5ms}\n\
                apiKeys: [{id: x, key: S2}, S3]\n\
                oddKey: {any: [S4]}\n\
                base: &b S5\n\
                identityProviders: {m: {<<: {secret: S6}, issuer: i, odd: *b}}\n\
                rateLimits: {l: {key: [tenantId]}}\n\
                routes: [{name: r, policies: text}]\n";
    let shape = Shape::of_config();
    let covered: Vec<String> = Tree::read(text)
        .secrets(&shape)
        .iter()
        .map(|extent| {
            let line = text.lines().nth(extent.start.line - 1).unwrap();
            let length = extent.end.column - extent.start.column;
            line.chars().skip(extent.start.column - 1).take(length).collect()
        })
        .collect();
    for secret in ["S1", "S2", "S3", "S4", "S5", "S6"] {
        assert!(covered.iter().any(|text| text.contains(secret)), "{secret}: {covered:?}");
    }
    assert_eq!(covered.len(), 7, "{covered:?}");
}
