use std::borrow::Cow;

use proptest::prelude::*;

use super::normalise_path;

fn normal(path: &str) -> String {
    normalise_path(path).unwrap_or_else(|refused| panic!("{path}: {refused:?}")).into_owned()
}

#[test]
fn normal_paths_are_borrowed() {
    for path in [
        "/",
        "/v1/orders/42",
        "/v1/orders/",
        "/.well-known/jwks.json",
        "/..a/...",
        "/a.b/~c/d_e-f",
        "/a!$&'()*+,=:@",
        "/caf%C3%A9",
        "/a%20b",
        "/a%2Bb",
        "/100%25",
        "/100%25zz",
    ] {
        assert!(matches!(normalise_path(path), Ok(Cow::Borrowed(same)) if same == path), "{path}");
    }
}

#[test]
fn spellings_become_one() {
    for (path, expected) in [
        ("/%61%2D%2e%5f%7E", "/a-._~"),
        ("/%3Acancel%21%24%26%27%28%29%2A%2C%3D%40", "/:cancel!$&'()*,=@"),
        ("/a%2bb", "/a%2Bb"),
        ("/caf%c3%a9", "/caf%C3%A9"),
        ("/%f0%9f%8e%89", "/%F0%9F%8E%89"),
        ("/a{b}|[c]^\"<>`", "/a%7Bb%7D%7C%5Bc%5D%5E%22%3C%3E%60"),
        ("/a/./b", "/a/b"),
        ("/a/.", "/a/"),
        ("/.", "/"),
        ("/a/../b", "/b"),
        ("/a/..", "/"),
        ("/a/b/..", "/a/"),
        ("/a/b/../", "/a/"),
        ("/a/b/../../c", "/c"),
        ("/a/%2e%2E/b", "/b"),
        ("/a/.%2e/b", "/b"),
        ("/a/%2e/b", "/a/b"),
        ("//", "/"),
        ("//a///b//", "/a/b/"),
        ("/a/.//b", "/a/b"),
        ("/a/../b//c", "/b/c"),
        ("/a/...//b", "/a/.../b"),
    ] {
        assert_eq!(normal(path), expected, "{path}");
    }
}

#[test]
fn two_readings_are_refused() {
    for path in [
        "",
        "*",
        "a",
        "http:",
        "%2Fa",
        "/a%",
        "/a%2",
        "/a%zz",
        "/a%2fb",
        "/a%2Fb",
        "/a\\b",
        "/a%5cb",
        "/a%5C",
        "/a%00",
        "/a%0a",
        "/a%1f",
        "/a%7f",
        "/a%C2%85",
        "/a\u{1}",
        "/a\u{7f}",
        "/a b",
        "/a;b",
        "/a%3bb",
        "/a%3B",
        "/é",
        "/a?b",
        "/a#b",
        "/%ff",
        "/%80",
        "/%c0%af",
        "/%c0%80",
        "/%e0%80%af",
        "/%f0%80%80%af",
        "/%f5%80%80%80",
        "/%ed%a0%80",
        "/%c3",
        "/%c3x",
        "/%c3a9",
        "/%c3%",
        "/%c3%28",
        "/%252e",
        "/%252f",
        "/%25%32%66",
        "/%2%35",
        "/..",
        "/../a",
        "/a/../..",
        "/a/../../b",
        "/%2e%2e",
        "/./..",
        "/a//../b",
        "//..",
        "/a//b/..",
    ] {
        assert!(normalise_path(path).is_err(), "{path} gave {:?}", normalise_path(path));
    }
}

#[test]
fn a_public_path_cannot_be_left_by_spelling() {
    assert_eq!(normal("/health/../admin"), "/admin");
    assert_eq!(normal("/health/%2e%2e/admin"), "/admin");
    assert!(normalise_path("/auth/login%2f..%2fadmin").is_err());
    assert!(normalise_path("/auth/login/..;/admin").is_err());
}

/// Pieces that collide: slashes, dots, escapes of both, whole and broken characters.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => Just("/".to_owned()),
        2 => Just(".".to_owned()),
        1 => Just("..".to_owned()),
        1 => Just("%2e".to_owned()),
        1 => Just("%2F".to_owned()),
        1 => Just("%25".to_owned()),
        1 => Just("%c3%A9".to_owned()),
        1 => Just("%".to_owned()),
        1 => Just("{".to_owned()),
        1 => "[ -~]",
        3 => "[a-f0-9]{1,2}",
        1 => any::<u8>().prop_map(|byte| format!("%{byte:02x}")),
    ]
}

fn path() -> impl Strategy<Value = String> {
    proptest::collection::vec(piece(), 0..12).prop_map(|pieces| format!("/{}", pieces.concat()))
}

/// A path in normal form, with for each of its characters whether to escape it and in which case.
fn spelled() -> impl Strategy<Value = (String, Vec<(bool, bool)>)> {
    let segment = "[A-Za-z0-9_~.-]{0,3}[A-Za-z0-9_~-]";
    let path = proptest::collection::vec(segment, 0..5)
        .prop_map(|segments| format!("/{}", segments.join("/")));
    (path, proptest::collection::vec(any::<(bool, bool)>(), 32))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn normal_forms_are_final(path in path()) {
        if let Ok(normal) = normalise_path(&path) {
            let again = normalise_path(&normal);
            prop_assert!(matches!(again, Ok(Cow::Borrowed(_))), "{} {:?}", normal, again);
            prop_assert_eq!(again.unwrap(), normal.as_ref());
        }
    }

    #[test]
    fn normal_forms_hold_nothing_ambiguous(path in path()) {
        if let Ok(normal) = normalise_path(&path) {
            prop_assert!(normal.starts_with('/'));
            for wrong in ["//", "/./", "/../", "\\", ";", "%2F", "%5C", "%00", "%3B", "%2E"] {
                prop_assert!(!normal.contains(wrong), "{} in {}", wrong, normal);
            }
            prop_assert!(!normal.ends_with("/.") && !normal.ends_with("/.."));
            prop_assert!(normal.bytes().all(|byte| byte.is_ascii_graphic()));
        }
    }

    #[test]
    fn every_spelling_has_the_same_normal_form((path, choices) in spelled()) {
        let spelling: String = path
            .chars()
            .zip(&choices)
            .map(|(char, (escape, capital))| match (*escape && char != '/', capital) {
                (false, _) => char.to_string(),
                (true, false) => format!("%{:02x}", u32::from(char)),
                (true, true) => format!("%{:02X}", u32::from(char)),
            })
            .chain(path.chars().skip(choices.len()).map(String::from))
            .collect();
        prop_assert_eq!(normal(&spelling), normal(&path));
    }
}
