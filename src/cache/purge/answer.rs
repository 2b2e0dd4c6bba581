//! What services say of purging: the tags of an answer, and what an answer invalidates.
//!
//! | Header | Form | Says |
//! |---|---|---|
//! | `Cache-Tag` | words between commas | tags of this answer |
//! | `Surrogate-Key` | words between spaces | the same |
//! | `Cache-Groups` | list of strings (RFC 9875) | groups of this answer, within its origin |
//! | `Cache-Group-Invalidation` | list of strings (RFC 9875) | groups that are to be purged |
//!
//! Tags are compared byte for byte. A list of strings that is not well formed counts as absent
//! (RFC 9651 section 4.2). An answer with more tags than are kept of one is not kept at all: a tag
//! that was left out would be one that its purge cannot find.

use http::{HeaderMap, HeaderName, Method, StatusCode, header};
use sfv::{BareItem, List, ListEntry, Parser};
use smallvec::SmallVec;

use super::super::CachePolicy;
use super::super::key::query;
use super::super::policy::Query;
use super::order::{Order, Tagged};
use super::tag::{NOBODYS, Subject, Tags, Target, Url};
use crate::edge::{Facts, Scheme, normalise_path, read_host_port};

/// Tags between commas.
pub(super) const CACHE_TAG: HeaderName = HeaderName::from_static("cache-tag");
/// Tags between spaces.
pub(super) const SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");
/// Groups of an answer (RFC 9875 section 2).
pub(super) const CACHE_GROUPS: HeaderName = HeaderName::from_static("cache-groups");
/// Groups that an answer invalidates (RFC 9875 section 3).
pub(super) const CACHE_GROUP_INVALIDATION: HeaderName =
    HeaderName::from_static("cache-group-invalidation");

/// Headers that are between the service and the gateway; no client sees them.
pub static STRIPPED: [HeaderName; 4] =
    [CACHE_TAG, SURROGATE_KEY, CACHE_GROUPS, CACHE_GROUP_INVALIDATION];

/// Tags and groups that one answer may carry, those of the configuration included.
pub(super) const ANSWER_TAGS_MAX: usize = 256;
/// Longest tag or group, in bytes.
pub(super) const TAG_BYTES_MAX: usize = 1024;

/// Every tag of an answer that is about to be kept. `tenant` is the one that the entry belongs to
/// alone, see [`CachePolicy::tenant_of`].
///
/// # Errors
/// Why it cannot be kept: it says more than is kept of one answer.
pub fn tags_of(
    policy: &CachePolicy,
    facts: &Facts<'_>,
    key: &super::super::KeyHash,
    answer: &HeaderMap,
) -> Result<Tags, &'static str> {
    let view = facts.view;
    let parameters = query::parameters(&policy.query, view.query);
    let url =
        Url { scheme: view.scheme, host: &view.host, path: &view.path, parameters: &parameters };
    let subject = Subject { url, route: &policy.route, tenant: policy.tenant_of(facts), key };
    let mut tags = subject.tags();
    let mut count = 0;
    let mut add = |target: Target<'_>, bytes: usize| {
        count += 1;
        if count > ANSWER_TAGS_MAX {
            return Err("the answer has more than 256 tags");
        }
        if bytes > TAG_BYTES_MAX {
            return Err("the answer has a tag of more than 1024 bytes");
        }
        subject.add(&mut tags, &target);
        Ok(())
    };
    for text in policy.tags.of(facts) {
        add(Target::Text(text.as_bytes()), text.len())?;
    }
    for text in words(answer, &CACHE_TAG, b',').chain(words(answer, &SURROGATE_KEY, b' ')) {
        add(Target::Text(text), text.len())?;
    }
    for name in strings(answer, &CACHE_GROUPS) {
        let group = Target::Group { scheme: view.scheme, host: &view.host, name: &name };
        add(group, name.len())?;
    }
    Ok(tags)
}

/// What an answer to a request with an unsafe method invalidates (RFC 9111 section 4.4, RFC 9875
/// section 3): the URL that it was for, those of the same origin in `Location` and
/// `Content-Location`, and the groups that it names. Of URLs only those whose path may be `kept`.
/// Empty for safe methods and for errors.
#[must_use]
pub fn invalidated_by(
    policy: Option<&CachePolicy>,
    facts: &Facts<'_>,
    (status, answer): (StatusCode, &HeaderMap),
    kept: impl Fn(&str) -> bool,
) -> SmallVec<[Order; 1]> {
    let view = facts.view;
    if is_safe(view.method) || !(status.is_success() || status.is_redirection()) {
        return SmallVec::new();
    }
    // What a tenant writes is out of date for that tenant and in what all share (R150); who belongs
    // to none may have written for everybody.
    let tenant = facts.identity.and_then(|identity| identity.tenant_id.as_deref());
    let scopes = match tenant.filter(|tenant| !tenant.is_empty()) {
        Some(tenant) => [Some(tenant), Some(NOBODYS)],
        None => [None, None],
    };
    let mut tagged = Tagged::default();
    let mut purge = |target: Target<'_>| {
        for scope in scopes {
            tagged.add(target.tag(scope));
        }
    };
    let mut url = |path: &str, query: Option<&str>| {
        if !kept(path) {
            return;
        }
        // As the entries of this route are filed, and as those of a route that counts every
        // parameter are: GET may have a route of its own.
        for counted in policy.map(|policy| &policy.query).into_iter().chain([&Query::All]) {
            let parameters = query::parameters(counted, query);
            let (scheme, host) = (view.scheme, &*view.host);
            let url = Url { scheme, host, path, parameters: &parameters };
            purge(Target::Url(&url));
        }
    };
    url(&view.path, view.query);
    for name in [header::LOCATION, header::CONTENT_LOCATION] {
        let reference = answer.get(name).and_then(|value| value.to_str().ok());
        if let Some((path, query)) = reference.and_then(|text| within_origin(facts, text)) {
            url(&path, query.as_deref());
        }
    }
    for name in strings(answer, &CACHE_GROUP_INVALIDATION) {
        let (scheme, host) = (view.scheme, &*view.host);
        purge(Target::Group { scheme, host, name: &name });
    }
    tagged.hard()
}

/// Whether a method changes nothing (RFC 9110 section 9.2.1), QUERY among them (RFC 10008).
#[must_use]
pub fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE)
        || method.as_str() == "QUERY"
}

/// Path and query that a reference leads to (RFC 3986 section 5), where that is in the origin of
/// the request.
fn within_origin(facts: &Facts<'_>, reference: &str) -> Option<(String, Option<String>)> {
    let view = facts.view;
    let reference = reference.split('#').next().unwrap_or_default().trim();
    let authority = match reference.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case(view.scheme.as_str()) => Some(rest),
        Some(_) => return None,
        None => reference.strip_prefix("//"),
    };
    let target = match authority {
        None => reference,
        Some(rest) => {
            let end = rest.find(['/', '?']).unwrap_or(rest.len());
            let (authority, target) = rest.split_at_checked(end)?;
            let named = read_host_port(authority).ok()?;
            let port = |port: Option<u16>| port.unwrap_or(default_port(view.scheme));
            if *named.host != *view.host || port(named.port) != port(view.port) {
                return None;
            }
            if !target.starts_with('/') {
                return at("/", target);
            }
            target
        }
    };
    if target.is_empty() || target.starts_with('?') {
        return at(&view.path, target);
    }
    if target.starts_with('/') {
        return at("", target);
    }
    let folder = view.path.rfind('/').and_then(|end| view.path.get(..=end))?;
    at(folder, target)
}

/// Path and query of a target behind what stands before it.
fn at(before: &str, target: &str) -> Option<(String, Option<String>)> {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (target, None),
    };
    let path = format!("{before}{path}");
    Some((normalise_path(&path).ok()?.into_owned(), query))
}

const fn default_port(scheme: Scheme) -> u16 {
    match scheme {
        Scheme::Http => 80,
        Scheme::Https => 443,
    }
}

/// The words of every field of a name.
fn words<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
    between: u8,
) -> impl Iterator<Item = &'a [u8]> {
    headers
        .get_all(name)
        .iter()
        .flat_map(move |value| value.as_bytes().split(move |byte| *byte == between))
        .map(<[u8]>::trim_ascii)
        .filter(|word| !word.is_empty())
}

/// The strings of a list; none where it is not well formed or holds something else.
fn strings(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    read_strings(headers, name).unwrap_or_default()
}

fn read_strings(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<String>> {
    let mut lines = Vec::new();
    for value in headers.get_all(name) {
        if !lines.is_empty() {
            lines.extend_from_slice(b", ");
        }
        lines.extend_from_slice(value.as_bytes());
    }
    let list: List = Parser::new(&lines).parse().ok()?;
    let string = |entry: &ListEntry| match entry {
        ListEntry::Item(item) => match &item.bare_item {
            BareItem::String(text) => Some(text.as_str().to_owned()),
            _ => None,
        },
        ListEntry::InnerList(_) => None,
    };
    list.iter().map(string).collect()
}

#[cfg(test)]
mod tests;
