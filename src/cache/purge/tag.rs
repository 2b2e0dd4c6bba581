//! What entries can be purged by.
//!
//! A tag is a hash, the same on every node and in every version: nodes name what is to be purged
//! to each other by it, and entries keep nothing longer. What goes into it is length-prefixed, so
//! no two lists of parts are the same bytes.
//!
//! Everything that an entry can be purged by stands in its note once for whoever purges it, and
//! where the entry belongs to a tenant, once more with that tenant: so a purge "of tenant A" names
//! tags that no entry of another tenant has (R150).

use sha2::{Digest, Sha256};
use smallvec::SmallVec;

use super::super::KeyHash;
use crate::edge::Scheme;

/// A tag, as a hash of its kind, its tenant and its text. Two tags that share a hash are purged
/// together, which costs a fetch and shows nobody anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(pub(super) u64);

/// The tags of an entry.
pub(super) type Tags = SmallVec<[Tag; 8]>;

impl Tag {
    /// As a number, for the store that nodes share.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The tag that had these [`bits`](Self::bits).
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

/// Something that entries can be purged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// Every entry; with a tenant, every entry of it.
    Everything,
    /// What this route keeps.
    Route(&'a str),
    /// The entry with this key, all its variants.
    Key(&'a KeyHash),
    /// What is kept of a URL, for whomever and in whatever form.
    Url(&'a Url<'a>),
    /// What is kept of a host below a path, by whole segments: `/a` holds `/a` and `/a/b`.
    Prefix {
        /// The host in normal form.
        host: &'a str,
        /// The path in normal form.
        path: &'a str,
    },
    /// What was tagged with this by the configuration or the service.
    Text(&'a [u8]),
    /// A group (RFC 9875), which belongs to an origin.
    Group {
        /// The origin's scheme.
        scheme: Scheme,
        /// The origin's host.
        host: &'a str,
        /// The group's name.
        name: &'a str,
    },
}

/// A URL as keys see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Url<'a> {
    /// The scheme.
    pub scheme: Scheme,
    /// The host in normal form, without a port: keys know none.
    pub host: &'a str,
    /// The path in normal form.
    pub path: &'a str,
    /// The query parameters that count, as in the key.
    pub parameters: &'a [std::borrow::Cow<'a, str>],
}

impl Target<'_> {
    /// The tag of it: for entries of whomever, or of this tenant alone.
    #[must_use]
    pub fn tag(&self, tenant: Option<&str>) -> Tag {
        let mut hash = Parts::begin(tenant);
        match *self {
            Self::Everything => hash.push(b"everything"),
            Self::Route(name) => hash.all(&[b"route", name.as_bytes()]),
            Self::Key(key) => hash.all(&[b"key", key]),
            Self::Url(url) => {
                let scheme = url.scheme.as_str().as_bytes();
                hash.all(&[b"url", scheme, url.host.as_bytes(), url.path.as_bytes()]);
                for parameter in url.parameters {
                    hash.push(parameter.as_bytes());
                }
            }
            Self::Prefix { host, path } => {
                hash.all(&[b"prefix", host.as_bytes(), prefix(path).as_bytes()]);
            }
            Self::Text(text) => hash.all(&[b"tag", text]),
            Self::Group { scheme, host, name } => {
                let scheme = scheme.as_str().as_bytes();
                hash.all(&[b"group", scheme, host.as_bytes(), name.as_bytes()]);
            }
        }
        hash.finish()
    }
}

/// What goes without saying about an entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject<'a> {
    /// Its URL.
    pub url: Url<'a>,
    /// Its route.
    pub route: &'a str,
    /// The tenant that it belongs to alone; none for entries that callers of several share.
    pub tenant: Option<&'a str>,
    /// Its key.
    pub key: &'a KeyHash,
}

impl Subject<'_> {
    /// The tags that every entry has: everything, its tenant, route, key, URL, and each prefix
    /// of its path down to [`SEGMENTS_MAX`].
    #[must_use]
    pub(super) fn tags(&self) -> Tags {
        let mut tags = Tags::new();
        self.add(&mut tags, &Target::Everything);
        self.add(&mut tags, &Target::Route(self.route));
        self.add(&mut tags, &Target::Key(self.key));
        self.add(&mut tags, &Target::Url(&self.url));
        for path in prefixes(self.url.path) {
            self.add(&mut tags, &Target::Prefix { host: self.url.host, path });
        }
        tags
    }

    /// Adds what one more purge can name.
    pub(super) fn add(&self, tags: &mut Tags, target: &Target<'_>) {
        tags.push(target.tag(None));
        tags.push(target.tag(Some(self.tenant.unwrap_or(NOBODYS))));
    }
}

/// The form of a path as a prefix: without a slash at its end. Of a path with more than
/// [`SEGMENTS_MAX`] segments nothing can be purged by a longer prefix than that.
#[must_use]
pub(super) fn prefix(path: &str) -> &str {
    match path.strip_suffix('/') {
        Some("") | None => path,
        Some(rest) => rest,
    }
}

/// Whether a prefix has so few segments that entries are tagged with it.
#[must_use]
pub(super) fn is_tagged(path: &str) -> bool {
    prefix(path).split('/').filter(|segment| !segment.is_empty()).count() <= SEGMENTS_MAX
}

/// `/`, and the path up to each of its first segments.
fn prefixes(path: &str) -> impl Iterator<Item = &str> {
    let whole = prefix(path);
    let ends = whole.match_indices('/').map(|(at, _)| at).skip(1).chain([whole.len()]);
    let below = ends.filter_map(move |end| whole.get(..end)).filter(|path| *path != "/");
    std::iter::once("/").chain(below.take(SEGMENTS_MAX))
}

/// Stands for the tenant of entries that belong to none; no tenant has an empty name.
pub(super) const NOBODYS: &str = "";

/// Segments of a path that entries are tagged with.
pub(super) const SEGMENTS_MAX: usize = 32;

/// Parts on their way into a hash.
struct Parts(Sha256);

impl Parts {
    fn begin(tenant: Option<&str>) -> Self {
        let mut parts = Self(Sha256::new());
        match tenant {
            None => parts.push(b"any"),
            Some(tenant) => parts.all(&[b"tenant", tenant.as_bytes()]),
        }
        parts
    }

    fn push(&mut self, part: &[u8]) {
        self.0.update((part.len() as u64).to_be_bytes());
        self.0.update(part);
    }

    fn all(&mut self, parts: &[&[u8]]) {
        for part in parts {
            self.push(part);
        }
    }

    fn finish(self) -> Tag {
        let digest = self.0.finalize();
        Tag(digest.first_chunk().map_or(0, |first| u64::from_be_bytes(*first)))
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::collections::HashSet;

    use super::*;

    const KEY: KeyHash = [7; 32];

    fn url<'a>(path: &'a str, parameters: &'a [Cow<'a, str>]) -> Url<'a> {
        Url { scheme: Scheme::Https, host: "shop.example.com", path, parameters }
    }

    fn subject<'a>(path: &'a str, tenant: Option<&'a str>) -> Subject<'a> {
        Subject { url: url(path, &[]), route: "shop", tenant, key: &KEY }
    }

    #[test]
    fn hashes_are_the_same_for_ever() {
        assert_eq!(Target::Everything.tag(None), Tag(0xd93f_1646_1b57_2ebb));
        assert_eq!(Target::Text(b"products:1234").tag(None), Tag(0x7ab9_94f2_de22_17ad));
        assert_eq!(Target::Text(b"products:1234").tag(Some("acme")), Tag(0x4fb1_63a2_17ac_1a04));
        let tag = Target::Everything.tag(None);
        assert_eq!(Tag::from_bits(tag.bits()), tag);
    }

    #[test]
    fn no_two_targets_share_a_tag() {
        let one = [Cow::Borrowed("a=1"), Cow::Borrowed("b=2")];
        let joined = [Cow::Borrowed("a=1b=2")];
        let (first, second, plain) = (url("/a", &one), url("/a", &joined), url("/a", &[]));
        let http = Url { scheme: Scheme::Http, ..plain };
        let (scheme, host) = (Scheme::Https, "shop.example.com");
        let targets = [
            Target::Everything,
            Target::Route("a"),
            Target::Text(b"a"),
            Target::Text(b"everything"),
            Target::Text(b""),
            Target::Key(&KEY),
            Target::Text(&KEY),
            Target::Url(&first),
            Target::Url(&second),
            Target::Url(&plain),
            Target::Url(&http),
            Target::Prefix { host, path: "/a" },
            Target::Prefix { host: "shop.example.co", path: "m/a" },
            Target::Group { scheme, host, name: "/a" },
            Target::Group { scheme: Scheme::Http, host, name: "/a" },
            Target::Group { scheme, host: "", name: "/a" },
        ];
        let tenants = [None, Some(""), Some("a"), Some("everything")];
        let tags: HashSet<Tag> = targets
            .iter()
            .flat_map(|target| tenants.iter().map(|tenant| target.tag(*tenant)))
            .collect();
        assert_eq!(tags.len(), targets.len() * tenants.len());
    }

    #[test]
    fn prefixes_end_at_segments() {
        let of = |path| prefixes(path).collect::<Vec<_>>();
        assert_eq!(of("/"), ["/"]);
        assert_eq!(of("/a"), ["/", "/a"]);
        assert_eq!(of("/a/"), ["/", "/a"]);
        assert_eq!(of("/a/bc/d"), ["/", "/a", "/a/bc", "/a/bc/d"]);
        let deep = "/x".repeat(SEGMENTS_MAX + 1);
        assert_eq!(of(&deep).len(), SEGMENTS_MAX + 1);
        assert!(!is_tagged(&deep) && is_tagged(&"/x".repeat(SEGMENTS_MAX)));
        assert!(is_tagged("/") && is_tagged(&("/x".repeat(SEGMENTS_MAX) + "/")));
    }

    #[test]
    fn an_entry_is_under_all_that_names_it() {
        let tags = subject("/a/b", Some("acme")).tags();
        let host = "shop.example.com";
        for tenant in [None, Some("acme")] {
            for target in [
                Target::Everything,
                Target::Route("shop"),
                Target::Key(&KEY),
                Target::Url(&url("/a/b", &[])),
                Target::Prefix { host, path: "/" },
                Target::Prefix { host, path: "/a" },
                Target::Prefix { host, path: "/a/" },
                Target::Prefix { host, path: "/a/b" },
            ] {
                assert!(tags.contains(&target.tag(tenant)), "{target:?} {tenant:?}");
            }
        }
        let other = subject("/a/b", Some("umbrella")).tags();
        assert!(tags.iter().filter(|tag| other.contains(tag)).count() * 2 == tags.len());
        let nobody = subject("/a/b", None).tags();
        assert_eq!(nobody.len(), tags.len());
        assert!(nobody.contains(&Target::Everything.tag(Some(NOBODYS))));
    }
}
