//! The query of a request as factors of its key.
//!
//! Two spellings share an entry only where RFC 3986 section 6.2.2 says that they are the same:
//! the case of percent-encoding does not matter, nor does encoding what needs none. Everything
//! else stays apart (`+` and `%20`, `a` and `a=`), because services read it in different ways,
//! and bytes that are not UTF-8 stay what they are. So parameters are not decoded here as
//! [`edge::parameters`](crate::edge::parameters) does for matching.
//!
//! Parameters are sorted by name (R144). Those of one name keep their order: services read
//! `id=1&id=2` and `id=2&id=1` as different lists, or take the first, or the last.

use std::borrow::Cow;

use crate::cache::policy::Query;

/// The parameters that count, each as `name=value` in normal form, in the order of the key.
pub(in crate::cache) fn parameters<'a>(
    policy: &Query,
    query: Option<&'a str>,
) -> Vec<Cow<'a, str>> {
    let Some(query) = query.filter(|_| !matches!(policy, Query::None)) else {
        return Vec::new();
    };
    let mut parameters: Vec<Cow<'a, str>> =
        query.split('&').filter(|piece| !piece.is_empty()).map(normalise).collect();
    let (names, wanted): (&[Box<str>], bool) = match policy {
        Query::Names(names) => (names, true),
        Query::Except(names) => (names, false),
        Query::All | Query::None => (&[], false),
    };
    if !names.is_empty() {
        let is_named = |parameter: &str| names.iter().any(|name| is_decoded(parameter, name));
        parameters.retain(|parameter| is_named(name_of(parameter)) == wanted);
    }
    parameters.sort_by(|one, other| name_of(one).cmp(name_of(other)));
    parameters
}

/// Whether which parameters count can be read in two ways: some services take `;` for a
/// separator too, and would see a parameter of the list where the key sees none.
pub(in crate::cache) fn is_ambiguous(policy: &Query, query: Option<&str>) -> bool {
    matches!(policy, Query::Names(_) | Query::Except(_))
        && query.is_some_and(|query| query.contains(';'))
}

fn name_of(parameter: &str) -> &str {
    parameter.split_once('=').map_or(parameter, |(name, _)| name)
}

/// Decodes what needs no encoding and brings the rest into capitals.
fn normalise(piece: &str) -> Cow<'_, str> {
    if !piece.contains('%') {
        return Cow::Borrowed(piece);
    }
    let mut normal = String::with_capacity(piece.len());
    let mut parts = piece.split('%');
    normal.push_str(parts.next().unwrap_or_default());
    for part in parts {
        match part.split_at_checked(2).and_then(|(hex, rest)| Some((byte_of(hex)?, hex, rest))) {
            Some((byte, _, rest)) if is_unreserved(byte) => {
                normal.push(char::from(byte));
                normal.push_str(rest);
            }
            Some((_, hex, rest)) => {
                normal.push('%');
                normal.push_str(&hex.to_ascii_uppercase());
                normal.push_str(rest);
            }
            None => {
                normal.push('%');
                normal.push_str(part);
            }
        }
    }
    Cow::Owned(normal)
}

fn byte_of(hex: &str) -> Option<u8> {
    // `from_str_radix` alone would take `+1` too.
    hex.bytes().all(|digit| digit.is_ascii_hexdigit()).then_some(())?;
    u8::from_str_radix(hex, 16).ok()
}

/// RFC 3986 section 2.3.
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Whether `text`, decoded as a form, is `plain`.
fn is_decoded(text: &str, plain: &str) -> bool {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let hex = rest.strip_prefix('%').and_then(|rest| rest.split_at_checked(2));
        if let Some((byte, after)) = hex.and_then(|(hex, after)| Some((byte_of(hex)?, after))) {
            decoded.push(byte);
            rest = after;
            continue;
        }
        let (head, after) = rest.split_at(first.len_utf8());
        decoded.extend_from_slice(if head == "+" { b" " } else { head.as_bytes() });
        rest = after;
    }
    decoded == plain.as_bytes()
}

#[cfg(test)]
mod tests {
    use super::{is_ambiguous, parameters};
    use crate::cache::policy::Query;

    fn all(query: &str) -> Vec<String> {
        parameters(&Query::All, Some(query)).into_iter().map(Into::into).collect()
    }

    fn named(names: &[&str], query: &str) -> Vec<String> {
        let names = names.iter().map(|name| Box::from(*name)).collect();
        parameters(&Query::Names(names), Some(query)).into_iter().map(Into::into).collect()
    }

    #[test]
    fn spellings_of_one_query() {
        for (one, other) in [
            ("a=1&b=2", "b=2&a=1"),
            ("a=%c3%a4", "a=%C3%A4"),
            ("a=%61%7E", "a=a~"),
            ("&a=1&&b=2&", "a=1&b=2"),
        ] {
            assert_eq!(all(one), all(other), "{one} {other}");
        }
    }

    #[test]
    fn queries_that_a_service_may_read_apart() {
        for (one, other) in [
            ("a=1", "a=2"),
            ("a=1&a=2", "a=2&a=1"),
            ("a", "a="),
            ("a=+", "a=%20"),
            ("a=+", "a=%2B"),
            ("a=%26b=1", "a=&b=1"),
            ("a=%FF", "a=%FE"),
            ("a=%2561", "a=%61"),
            ("a=%zz", "a=%ZZ"),
            ("a=%+1", "a=%01"),
            ("a%3D1", "a=1"),
            ("A=1", "a=1"),
        ] {
            assert_ne!(all(one), all(other), "{one} {other}");
        }
    }

    #[test]
    fn broken_encodings_stay_as_they_are() {
        assert_eq!(all("a=%"), ["a=%"]);
        assert_eq!(all("a=%4"), ["a=%4"]);
        assert_eq!(all("a=%4ä%4"), ["a=%4ä%4"]);
        assert_eq!(all("%%41"), ["%A"]);
    }

    #[test]
    fn only_the_named_parameters() {
        assert_eq!(named(&["version", "page"], "version=2&utm=x&page=1"), ["page=1", "version=2"]);
        assert_eq!(named(&["version"], "utm=x"), [""; 0]);
        assert_eq!(named(&["version"], "version"), ["version"]);
        assert_eq!(named(&["version"], "version=2&version=1"), ["version=2", "version=1"]);
        assert_eq!(named(&["version"], "versions=2&Version=1"), [""; 0]);
        assert_eq!(named(&["filter[a]"], "filter%5Ba%5d=1"), ["filter%5Ba%5D=1"]);
        assert_eq!(named(&["a b"], "a+b=1&a%20b=2"), ["a%20b=2", "a+b=1"]);
        assert_eq!(named(&["ä"], "%C3%A4=1"), ["%C3%A4=1"]);
    }

    #[test]
    fn no_query() {
        assert!(parameters(&Query::All, None).is_empty());
        assert!(parameters(&Query::All, Some("")).is_empty());
        assert!(parameters(&Query::None, Some("a=1")).is_empty());
    }

    #[test]
    fn semicolons_matter_where_some_parameters_do_not() {
        let names = || Query::Names(["version".into()].into());
        assert!(is_ambiguous(&names(), Some("utm=1;version=2")));
        assert!(!is_ambiguous(&names(), Some("utm=1&version=2")));
        assert!(!is_ambiguous(&names(), None));
        assert!(!is_ambiguous(&Query::All, Some("utm=1;version=2")));
        assert!(!is_ambiguous(&Query::None, Some("utm=1;version=2")));
    }
}
