//! URLs and prefixes as operators write them.

use std::borrow::Cow;

use super::super::CachePolicy;
use super::super::key::query;
use super::super::policy::Query;
use super::tag::{SEGMENTS_MAX, Tag, Target, Url, is_tagged};
use crate::edge::{Scheme, normalise_path, read_host_port};

/// The tags of a URL, `https://shop.example.com/a?b=c`, under every way in which one of
/// `policies` counts parameters: an entry is filed under those that its route counts.
///
/// # Errors
/// Why it is no such URL.
pub fn url_tags<'a>(
    written: &str,
    policies: impl Iterator<Item = &'a CachePolicy>,
    tenant: Option<&str>,
) -> Result<Vec<Tag>, String> {
    let (scheme, rest) = split_scheme(written)
        .ok_or_else(|| format!("`{written}` is no URL: it begins with http:// or https://"))?;
    let rest = rest.split('#').next().unwrap_or_default();
    let (place, parameters) = match rest.split_once('?') {
        Some((place, parameters)) => (place, Some(parameters)),
        None => (rest, None),
    };
    let (host, path) = host_and_path(written, place)?;
    let mut tags = Vec::new();
    for counted in policies.map(|policy| &policy.query).chain([&Query::All]) {
        let parameters: Vec<Cow<'_, str>> = query::parameters(counted, parameters);
        let url = Url { scheme, host: &host, path: &path, parameters: &parameters };
        let tag = Target::Url(&url).tag(tenant);
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    Ok(tags)
}

/// The tag of a prefix, `shop.example.com/a`; a scheme before it says nothing.
///
/// # Errors
/// Why it is no such prefix.
pub fn prefix_tag(written: &str, tenant: Option<&str>) -> Result<Tag, String> {
    let place = split_scheme(written).map_or(written, |(_, rest)| rest);
    if place.contains(['?', '#']) {
        return Err(format!("`{written}` is no prefix: it ends with the path"));
    }
    let (host, path) = host_and_path(written, place)?;
    if !is_tagged(&path) {
        return Err(format!("`{written}` is too long: at most {SEGMENTS_MAX} segments"));
    }
    Ok(Target::Prefix { host: &host, path: &path }.tag(tenant))
}

fn split_scheme(written: &str) -> Option<(Scheme, &str)> {
    let (scheme, rest) = written.split_once("://")?;
    [Scheme::Http, Scheme::Https]
        .into_iter()
        .find(|known| known.as_str().eq_ignore_ascii_case(scheme))
        .map(|scheme| (scheme, rest))
}

/// Host and path in normal form; a port says nothing, since keys know none.
fn host_and_path(written: &str, place: &str) -> Result<(String, String), String> {
    let (authority, path) = match place.find('/') {
        Some(at) => place.split_at_checked(at).unwrap_or((place, "/")),
        None => (place, "/"),
    };
    let host = read_host_port(authority).map_err(|why| format!("`{written}`: {}", why.0))?;
    let path = normalise_path(path).map_err(|why| format!("`{written}`: {}", why.0))?;
    Ok((host.host.into_owned(), path.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::super::super::fixtures::policy;
    use super::*;

    fn urls(written: &str) -> Result<Vec<Tag>, String> {
        url_tags(written, std::iter::empty(), None)
    }

    #[test]
    fn urls_in_whatever_spelling_are_one() {
        let tags = urls("https://shop.example.com/a?x=1&y=2").unwrap();
        assert_eq!(tags.len(), 1);
        for same in [
            "HTTPS://SHOP.example.com./a?y=2&x=1",
            "https://shop.example.com:8443/./a?x=1&y=2#there",
            "https://shop.example.com//a?x=%31&y=2",
        ] {
            assert_eq!(urls(same).unwrap(), tags, "{same}");
        }
        for other in [
            "http://shop.example.com/a?x=1&y=2",
            "https://shop.example.com/a?x=1",
            "https://shop.example.com/a/?x=1&y=2",
            "https://example.com/a?x=1&y=2",
        ] {
            assert_ne!(urls(other).unwrap(), tags, "{other}");
        }
        assert_eq!(urls("https://a"), urls("https://a/"));
        for wrong in ["/a", "a/b", "ftp://a/b", "https:///b", "https://a/%2F", "https://a b/"] {
            assert!(urls(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_way_of_counting_parameters_has_its_tag() {
        let policies = [policy("{key: {query: none}}"), policy("{key: {query: [x]}}")];
        let tags =
            |url| url_tags(url, policies.iter().chain(policies.iter()), Some("acme")).unwrap();
        assert_eq!(tags("http://a/b?x=1&y=2").len(), 3);
        assert_eq!(tags("http://a/b").len(), 1);
        assert!(tags("http://a/b?x=1").contains(&tags("http://a/b")[0]));
    }

    #[test]
    fn prefixes_are_a_host_and_segments() {
        let tag = prefix_tag("shop.example.com/a", None).unwrap();
        assert_eq!(prefix_tag("https://SHOP.example.com:1/a/", None), Ok(tag));
        assert_ne!(prefix_tag("shop.example.com/a", Some("acme")), Ok(tag));
        assert_ne!(prefix_tag("shop.example.com/ab", None), Ok(tag));
        assert_eq!(prefix_tag("a", None), prefix_tag("a/", None));
        let long = format!("a{}", "/x".repeat(SEGMENTS_MAX + 1));
        for wrong in ["", "/a", "a/b?c", "a/b#c", "a/%zz", &long] {
            assert!(prefix_tag(wrong, None).is_err(), "{wrong}");
        }
    }
}
