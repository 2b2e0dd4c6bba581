use super::*;

fn shape(pattern: &str) -> Shape {
    Shape::of(&compile(pattern).unwrap())
}

#[test]
fn an_expression_matches_the_whole_text() {
    let whole = compile("/a|/ab").unwrap();
    assert!(whole.is_match("/a") && whole.is_match("/ab"));
    assert!(!whole.is_match("/abc") && !whole.is_match("x/a") && !whole.is_match("/a\n"));
    let lines = compile("(?m)^/a$").unwrap();
    assert!(!lines.is_match("/a\n/b"), "flags stay inside");
    assert_eq!(source(&whole), "/a|/ab");
}

#[test]
fn a_wrong_expression_is_told_in_one_line() {
    for (wrong, why) in [("/a(", "unclosed group"), ("/a)|(b", "unopened group")] {
        assert_eq!(compile(wrong).unwrap_err(), why);
    }
    // A comment would swallow the closing parenthesis; it is refused instead.
    assert!(compile("(?x)/a # why").is_err());
    assert!(!compile("/(a{1000}){1000}").unwrap_err().contains('\n'));
}

#[test]
fn the_literal_ends_where_choice_begins() {
    for (pattern, literal) in [
        ("^/users/[a-f0-9-]{36}$", "/users/"),
        ("/users/.*", "/users/"),
        ("/v1/a+", "/v1/a"),
        ("/v1/a?", "/v1/"),
        ("/v1/a*", "/v1/"),
        ("/v1/a{0,3}", "/v1/"),
        ("/v1/a{2}b", "/v1/aab"),
        ("/v1/a{2,3}b", "/v1/aa"),
        ("/v1/(ab)+c", "/v1/ab"),
        ("/v1/(ab|cd)", "/v1/"),
        ("/v1/(ab)c", "/v1/abc"),
        ("/a|b", ""),
        ("(?i)/abc", "/"),
        ("/a(?i)b", "/a"),
        (r"/a\.b\/c\d", "/a.b/c"),
        (r"/\x61", "/a"),
        ("/a[b]c", "/abc"),
        (".*", ""),
        ("", ""),
        (r"/a\bc", "/a"),
        ("(?x) /a b ", "/ab"),
    ] {
        assert_eq!(shape(pattern).literal, literal, "{pattern}");
    }
}

#[test]
fn every_match_begins_with_the_literal() {
    let mut random = fastrand::Rng::with_seed(1);
    let pieces = ["/", "a", "b", "[ab]", ".", "(a|b)", "(a)", "a+", "b*", "a?", "|", "a{2}", "^"];
    let (mut matches, mut literals) = (0, 0);
    for _ in 0..3_000 {
        let pattern: String =
            (0..random.usize(1..5)).map(|_| *random.choice(&pieces).unwrap()).collect();
        let regex = compile(&pattern).unwrap();
        let shape = Shape::of(&regex);
        for _ in 0..30 {
            let text: String =
                (0..random.usize(0..5)).map(|_| random.choice(['/', 'a', 'b']).unwrap()).collect();
            if regex.is_match(&text) {
                matches += 1;
                literals += usize::from(!shape.literal.is_empty());
                assert!(text.starts_with(&shape.literal), "{pattern} {text}");
                if let Some(segments) = &shape.segments {
                    let texts: Vec<&str> = text.split('/').collect();
                    assert_eq!(texts.len(), segments.len(), "{pattern} {text}");
                    let fits = texts.iter().zip(segments).all(|(text, segment)| {
                        if segment.open {
                            segment.holds(text.as_bytes())
                        } else {
                            segment.prefix == text.as_bytes()
                        }
                    });
                    assert!(fits, "{pattern} {text}");
                }
            }
        }
    }
    assert!(matches > 1_000 && literals > 500, "{matches} {literals}");
}

#[test]
fn expressions_are_told_apart_by_their_segments() {
    for (a, b) in [
        ("/users/[^/]+", "/users/[^/]+/orders"),
        ("/users/[^/]+/orders", "/users/[^/]+/items"),
        ("/users/[0-9]+/a/[0-9]+", "/users/[0-9]+/b/[0-9]+"),
        ("/users/x-[0-9]+", "/users/y-[0-9]+"),
        ("/users/[0-9]+-x", "/users/[0-9]+-y"),
        ("/users/[0-9]+:x", "/users/me"),
    ] {
        assert!(shape(a).apart(&shape(b)) && shape(b).apart(&shape(a)), "{a} {b}");
    }
    for (a, b) in [
        ("/users/[0-9]+", "/users/[a-z]+"),
        ("/users/.*", "/users/[^/]+/orders"),
        ("/users/[^/]+", "/users/[^/]+"),
        ("/users/x[0-9]+", "/users/[a-z]+1"),
        ("/users/(a/b)?c", "/users/c"),
    ] {
        assert!(!shape(a).apart(&shape(b)) && !shape(b).apart(&shape(a)), "{a} {b}");
    }
}

#[test]
fn examples_match() {
    for (pattern, example) in [
        ("/users/[a-f0-9-]{3}", "/users/aaa"),
        ("/users/[^/]+/(orders|items)", "/users/a/orders"),
        (r"/v\d+/x?", "/v0/"),
    ] {
        assert_eq!(example_path(&compile(pattern).unwrap()).as_deref(), Some(example));
    }
    assert_eq!(example_path(&compile("x").unwrap()), None, "no path");
    assert_eq!(example_path(&compile("/[é]").unwrap()), None, "not in normal form");
}
