//! Entity tags of compressed answers (RFC 9110 section 8.8).
//!
//! The service's `"v1"` names the plain answer, byte by byte. The compressed one is told to
//! clients as `W/"v1--gzip"`: weak, because compressing again may give other bytes, and with the
//! coding, so that the service's tag can be found in it again. Nobody else knows such tags: a
//! condition with one is translated before the service sees it, also one for changing something
//! (`If-Match`), for it is the service's state that the client means.

use std::borrow::Cow;

use http::HeaderValue;
use http::header::GetAll;

use crate::model::Coding;

/// What stands between the service's tag and the coding.
const MARK: &str = "--";

const CODINGS: [Coding; 3] = [Coding::Gzip, Coding::Br, Coding::Zstd];

/// The tag of the compressed answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Coded {
    /// The service's: weak ones may name several forms of the same.
    Same,
    /// This one.
    Other(HeaderValue),
    /// None: the service's is no entity tag.
    None,
}

/// The tag of an answer whose plain form has the tag `given`.
#[must_use]
pub fn coded(given: &HeaderValue, coding: Coding) -> Coded {
    let Ok(text) = given.to_str() else { return Coded::None };
    if is_quoted(text.strip_prefix("W/").unwrap_or_default()) {
        return Coded::Same;
    }
    let inner = if is_quoted(text) { text.get(1..text.len() - 1) } else { None };
    let value = inner.map(|inner| format!("W/\"{inner}{MARK}{}\"", coding.token()));
    let value = value.and_then(|value| HeaderValue::try_from(value).ok());
    value.map_or(Coded::None, Coded::Other)
}

fn is_quoted(text: &str) -> bool {
    text.len() >= 2
        && text.starts_with('"')
        && text.ends_with('"')
        && text.bytes().filter(|byte| *byte == b'"').count() == 2
}

/// Whether a tag is one that was made here.
#[must_use]
pub fn is_coded(tag: &str) -> bool {
    matches!(plain(tag), Cow::Owned(_))
}

/// The service's tag in one that was made here; any other as it is.
fn plain(tag: &str) -> Cow<'_, str> {
    let inner = tag.strip_prefix("W/\"").and_then(|rest| rest.strip_suffix('"'));
    let own = inner.and_then(|inner| {
        CODINGS.iter().find_map(|coding| {
            inner.strip_suffix(coding.token())?.strip_suffix(MARK).filter(|own| !own.contains('"'))
        })
    });
    own.map_or(Cow::Borrowed(tag), |own| Cow::Owned(format!("\"{own}\"")))
}

/// A list of tags (`If-None-Match`, `If-Match`) in the service's words, each tag once; none where
/// it is that already.
#[must_use]
pub fn translate(list: &HeaderValue) -> Option<HeaderValue> {
    let text = list.to_str().ok().filter(|text| text.contains(MARK))?;
    let mut translated: Vec<Cow<'_, str>> = Vec::new();
    let mut changed = false;
    for tag in members(text) {
        let tag = plain(tag);
        changed |= matches!(tag, Cow::Owned(_));
        if !translated.contains(&tag) {
            translated.push(tag);
        }
    }
    if changed { HeaderValue::try_from(translated.join(", ")).ok() } else { None }
}

/// What the client calls the answer that the service calls `given`, where the client asked by the
/// tags in `list`. The form for `wanted`, the coding that the client would get now, comes first.
/// None where it is the service's own tag.
#[must_use]
pub fn told(
    given: &HeaderValue,
    list: &GetAll<'_, HeaderValue>,
    wanted: Option<Coding>,
) -> Option<HeaderValue> {
    let names = |tag: &HeaderValue| {
        list.iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| members(value).any(|member| member.as_bytes() == tag.as_bytes()))
    };
    let form = |coding: Coding| match coded(given, coding) {
        Coded::Other(tag) if names(&tag) => Some(tag),
        _ => None,
    };
    let first = wanted.and_then(form);
    if first.is_some() || names(given) {
        return first;
    }
    CODINGS.into_iter().find_map(form)
}

/// The tags of a list. A comma inside of quotes belongs to its tag.
fn members(list: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let split = list.split(move |letter| {
        quoted ^= letter == '"';
        letter == ',' && !quoted
    });
    split.map(str::trim).filter(|tag| !tag.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> HeaderValue {
        HeaderValue::from_bytes(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_strong_tag_gets_weak_and_names_the_coding() {
        for (given, expected) in [
            ("\"v1\"", Coded::Other(value("W/\"v1--gzip\""))),
            ("\"\"", Coded::Other(value("W/\"--gzip\""))),
            ("\"a,b\"", Coded::Other(value("W/\"a,b--gzip\""))),
            ("W/\"v1\"", Coded::Same),
            ("v1", Coded::None),
            ("w/\"v1\"", Coded::None),
            ("\"", Coded::None),
            ("\"a\"b\"", Coded::None),
            ("", Coded::None),
            ("\"\u{e4}\"", Coded::None),
        ] {
            assert_eq!(coded(&value(given), Coding::Gzip), expected, "{given}");
        }
    }

    #[test]
    fn every_coding_is_found_again() {
        for coding in CODINGS {
            for given in ["\"v1\"", "\"\"", "\"a--gzip\"", "\"a, b\""] {
                let Coded::Other(tag) = coded(&value(given), coding) else { panic!("{given}") };
                assert_eq!(translate(&tag), Some(value(given)), "{tag:?}");
                assert!(is_coded(tag.to_str().unwrap()));
            }
        }
    }

    #[test]
    fn lists_are_translated_tag_by_tag() {
        for (list, expected) in [
            ("W/\"v1--gzip\"", Some("\"v1\"")),
            ("\"a\", W/\"v1--br\" ,W/\"c\"", Some("\"a\", \"v1\", W/\"c\"")),
            ("W/\"v1--br\", W/\"v1--gzip\", \"v1\"", Some("\"v1\"")),
            ("W/\"a, W/b--zstd\"", Some("\"a, W/b\"")),
            // Not made here.
            ("\"v1--gzip\"", None),
            ("W/\"v1-gzip\"", None),
            ("W/\"v1--deflate\"", None),
            ("W/\"v1--GZIP\"", None),
            ("\"a, W/\", \"b--gzip\"", None),
            ("*", None),
            ("", None),
        ] {
            assert_eq!(translate(&value(list)), expected.map(value), "{list}");
        }
    }

    #[test]
    fn a_client_is_told_the_tag_that_it_knows() {
        let told = |given: &str, list: &str, wanted| {
            let mut headers = http::HeaderMap::new();
            headers.insert("if-none-match", value(list));
            let list = headers.get_all("if-none-match");
            told(&value(given), &list, wanted).map(|tag| tag.to_str().unwrap().to_owned())
        };
        let gzip = Some(Coding::Gzip);
        let coded = Some("W/\"v1--gzip\"".to_owned());
        assert_eq!(told("\"v1\"", "W/\"v1--gzip\"", gzip), coded);
        assert_eq!(told("\"v1\"", "W/\"v1--gzip\"", None), coded);
        assert_eq!(told("\"v1\"", "W/\"v1--gzip\"", Some(Coding::Br)), coded);
        assert_eq!(told("\"v1\"", "\"v1\", W/\"v1--gzip\"", gzip), coded);
        assert_eq!(told("\"v1\"", "\"v1\", W/\"v1--gzip\"", None), None);
        assert_eq!(told("\"v1\"", "\"v1\"", gzip), None);
        assert_eq!(told("\"v2\"", "W/\"v1--gzip\"", gzip), None);
        assert_eq!(told("W/\"v1\"", "W/\"v1\"", gzip), None);
        assert_eq!(told("\"v1\"", "*", gzip), None);
    }
}
