//! Which of a route's languages a request is answered in.

use http::header::ACCEPT_LANGUAGE;
use http::{HeaderMap, HeaderValue};

use crate::edge::weighted::members;

/// The languages that a route tells apart; may be none.
#[derive(Debug, Default)]
pub(in crate::cache) struct Languages(Box<[Language]>);

/// A language.
#[derive(Debug)]
pub(in crate::cache) struct Language {
    /// Its tag as configured.
    pub(in crate::cache) tag: Box<str>,
    /// The tag as a header value.
    pub(in crate::cache) value: HeaderValue,
}

impl Languages {
    /// Whether no language is told apart.
    pub(in crate::cache) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a text looks like a language tag (RFC 5646): letters, digits and single hyphens.
    pub(in crate::cache) fn is_tag(text: &str) -> bool {
        text.len() <= 35
            && text.split('-').all(|subtag| {
                (1..=8).contains(&subtag.len())
                    && subtag.bytes().all(|byte| byte.is_ascii_alphanumeric())
            })
    }

    /// Prepares tags; what is not a tag is left out.
    pub(in crate::cache) fn new(tags: &[String]) -> Self {
        let language = |tag: &String| {
            let value = HeaderValue::from_str(tag).ok()?;
            Self::is_tag(tag).then(|| Language { tag: tag.as_str().into(), value })
        };
        Self(tags.iter().filter_map(language).collect())
    }

    /// The language that `Accept-Language` prefers, by quality and then by order, else the first
    /// of the list; none where the list is empty. `de-AT` finds `de` where there is no `de-AT`,
    /// and `de` finds `de-AT` where there is no `de`.
    pub(in crate::cache) fn prefer(&self, headers: &HeaderMap) -> Option<&Language> {
        let mut best: Option<(u16, &Language)> = None;
        for (range, quality) in members(headers, &ACCEPT_LANGUAGE) {
            if quality > best.map_or(0, |(quality, _)| quality)
                && let Some(language) = self.find(range, headers)
            {
                best = Some((quality, language));
            }
        }
        best.map(|(_, language)| language).or_else(|| self.0.first())
    }

    /// The language that fits a range best: the same, then the longest that the range refines,
    /// then the first that refines the range.
    fn find(&self, range: &str, headers: &HeaderMap) -> Option<&Language> {
        let mut best: Option<(usize, &Language)> = None;
        for language in &self.0 {
            let tag = &*language.tag;
            let fit = if begins_with(range, tag) {
                tag.len() + 1
            } else if range == "*" || begins_with(tag, range) {
                1
            } else {
                continue;
            };
            if best.is_none_or(|(other, _)| fit > other) && !is_refused(tag, headers) {
                best = Some((fit, language));
            }
        }
        best.map(|(_, language)| language)
    }
}

/// Whether `q=0` excludes a language.
fn is_refused(tag: &str, headers: &HeaderMap) -> bool {
    members(headers, &ACCEPT_LANGUAGE)
        .any(|(range, quality)| quality == 0 && begins_with(tag, range))
}

/// Whether `tag` is `start`, or `start` with further subtags.
fn begins_with(tag: &str, start: &str) -> bool {
    let rest = tag.split_at_checked(start.len());
    rest.is_some_and(|(head, rest)| {
        head.eq_ignore_ascii_case(start) && (rest.is_empty() || rest.starts_with('-'))
    })
}

#[cfg(test)]
mod tests {
    use http::header::ACCEPT_LANGUAGE;
    use http::{HeaderMap, HeaderValue};

    use super::Languages;

    fn prefer(configured: &[&str], accept: Option<&str>) -> Option<String> {
        let tags: Vec<String> = configured.iter().map(|tag| (*tag).to_owned()).collect();
        let mut headers = HeaderMap::new();
        if let Some(accept) = accept {
            headers.insert(ACCEPT_LANGUAGE, HeaderValue::from_str(accept).unwrap());
        }
        Languages::new(&tags).prefer(&headers).map(|language| language.tag.to_string())
    }

    #[test]
    fn the_preferred_of_the_configured_languages() {
        let both = &["en", "de"][..];
        let regions = &["en", "de", "de-AT"][..];
        for (configured, accept, language) in [
            (both, None, "en"),
            (both, Some(""), "en"),
            (both, Some("de"), "de"),
            (both, Some("DE"), "de"),
            (both, Some("fr"), "en"),
            (both, Some("fr, de;q=0.1"), "de"),
            (both, Some("de-AT"), "de"),
            (both, Some("den"), "en"),
            (both, Some("en;q=0.5, de;q=0.8"), "de"),
            (both, Some("de, en"), "de"),
            (both, Some("en, de"), "en"),
            (both, Some("*"), "en"),
            (both, Some("*, en;q=0"), "de"),
            (both, Some("de;q=0"), "en"),
            (both, Some("fr, *;q=0.5, de;q=0.7"), "de"),
            (regions, Some("de"), "de"),
            (regions, Some("de-AT"), "de-AT"),
            (regions, Some("de-AT-1996"), "de-AT"),
            (regions, Some("de-CH"), "de"),
            (&["en", "de-AT"][..], Some("de"), "de-AT"),
        ] {
            assert_eq!(prefer(configured, accept).as_deref(), Some(language), "{accept:?}");
        }
        assert_eq!(prefer(&[], Some("de")), None);
    }

    #[test]
    fn tags() {
        for tag in ["en", "de-AT", "zh-Hant-TW", "sl-rozaj-biske-1994"] {
            assert!(Languages::is_tag(tag), "{tag}");
        }
        for text in ["", "-", "de-", "de--AT", "de_AT", "*", "de, en", "abcdefghi"] {
            assert!(!Languages::is_tag(text), "{text}");
        }
    }
}
