//! `Cache-Control` of requests and answers, and `CDN-Cache-Control`, read into what they mean.
//!
//! Reading errs to the safe side: what shortens an answer's life counts wherever it can be
//! recognised, what lengthens it only where it is well formed (RFC 9111 section 4.2.1). Names are
//! taken in any case, values as tokens or quoted strings, and what stands inside a quoted string
//! is never a directive.

use http::{HeaderMap, HeaderName, header};
use smallvec::SmallVec;

/// Longest time that a directive can name: larger numbers count as this (RFC 9111 section 1.2.2).
pub(in crate::cache) const SECONDS_MAX: u32 = 1 << 31;

/// Directives of one message, most of which are names alone: room for these without allocation.
const MEMBERS: usize = 8;

/// What an answer says of keeping it (RFC 9111 section 5.2.2, RFC 5861, RFC 8246).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each stands for a directive")]
pub(in crate::cache) struct AnswerControl {
    /// Seconds of `max-age`; 0 where it cannot be read or comes with several values.
    pub(in crate::cache) max_age: Option<u32>,
    /// The same of `s-maxage`.
    pub(in crate::cache) s_maxage: Option<u32>,
    pub(in crate::cache) no_store: bool,
    pub(in crate::cache) no_cache: Fields,
    pub(in crate::cache) private: Fields,
    pub(in crate::cache) public: bool,
    pub(in crate::cache) must_revalidate: bool,
    pub(in crate::cache) proxy_revalidate: bool,
    pub(in crate::cache) must_understand: bool,
    pub(in crate::cache) no_transform: bool,
    pub(in crate::cache) immutable: bool,
    /// Seconds of `stale-while-revalidate`; none where it cannot be read.
    pub(in crate::cache) stale_while_revalidate: Option<u32>,
    /// The same of `stale-if-error`.
    pub(in crate::cache) stale_if_error: Option<u32>,
}

/// What a request says of stored answers (RFC 9111 section 5.2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::cache) struct RequestControl {
    pub(in crate::cache) no_cache: bool,
    pub(in crate::cache) no_store: bool,
    pub(in crate::cache) only_if_cached: bool,
    /// Oldest answer wanted, in seconds.
    pub(in crate::cache) max_age: Option<u32>,
    /// For how many seconds it is still to be fresh.
    pub(in crate::cache) min_fresh: Option<u32>,
    /// For how many seconds it may have been stale; [`SECONDS_MAX`] for any time.
    pub(in crate::cache) max_stale: Option<u32>,
}

/// To what of an answer a directive applies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::cache) enum Fields {
    /// It is not there.
    #[default]
    None,
    /// The whole answer.
    All,
    /// These fields only.
    Names(SmallVec<[HeaderName; 2]>),
}

impl AnswerControl {
    /// Reads all `Cache-Control` lines of an answer; none where there is none.
    pub(in crate::cache) fn of(headers: &HeaderMap) -> Option<Self> {
        if !headers.contains_key(header::CACHE_CONTROL) {
            return None;
        }
        let mut control = Self::default();
        for value in headers.get_all(header::CACHE_CONTROL) {
            for member in members(value.as_bytes()) {
                control.note(&member);
            }
        }
        Some(control)
    }

    fn note(&mut self, member: &Member) {
        match member.name.as_str() {
            "max-age" => shorten(&mut self.max_age, member.seconds()),
            "s-maxage" => shorten(&mut self.s_maxage, member.seconds()),
            "no-store" => self.no_store = true,
            "no-cache" => self.no_cache.add(member.list()),
            "private" => self.private.add(member.list()),
            "public" => self.public = true,
            "must-revalidate" => self.must_revalidate = true,
            "proxy-revalidate" => self.proxy_revalidate = true,
            "must-understand" => self.must_understand = true,
            "no-transform" => self.no_transform = true,
            "immutable" => self.immutable = true,
            "stale-while-revalidate" => {
                shorten(&mut self.stale_while_revalidate, member.seconds());
            }
            "stale-if-error" => shorten(&mut self.stale_if_error, member.seconds()),
            _ => {}
        }
    }
}

impl RequestControl {
    /// Reads all `Cache-Control` lines of a request. `Pragma: no-cache` counts where there are
    /// none (RFC 9111 section 5.4).
    pub(in crate::cache) fn of(headers: &HeaderMap) -> Self {
        let mut control = Self::default();
        if !headers.contains_key(header::CACHE_CONTROL) {
            let pragma = headers.get_all(header::PRAGMA);
            let says = |value: &http::HeaderValue| {
                members(value.as_bytes()).any(|member| member.name == "no-cache")
            };
            control.no_cache = pragma.iter().any(says);
            return control;
        }
        for value in headers.get_all(header::CACHE_CONTROL) {
            for member in members(value.as_bytes()) {
                control.note(&member);
            }
        }
        control
    }

    /// What is left of it where clients have no say: that they want nothing but what is kept.
    pub(in crate::cache) fn as_ignored(self) -> Self {
        Self { only_if_cached: self.only_if_cached, ..Self::default() }
    }

    fn note(&mut self, member: &Member) {
        match member.name.as_str() {
            "no-cache" => self.no_cache = true,
            "no-store" => self.no_store = true,
            "only-if-cached" => self.only_if_cached = true,
            "max-age" => shorten(&mut self.max_age, member.seconds()),
            "max-stale" if member.value.is_none() => shorten(&mut self.max_stale, SECONDS_MAX),
            "max-stale" => shorten(&mut self.max_stale, member.seconds()),
            // More is the safe side here: what cannot be read wants the freshest there is.
            "min-fresh" => {
                let seconds = member.number().unwrap_or(SECONDS_MAX);
                self.min_fresh = Some(self.min_fresh.unwrap_or(0).max(seconds));
            }
            _ => {}
        }
    }
}

impl Fields {
    /// The directive with this list of names. Without one, or with one that cannot be read, it
    /// applies to the whole answer.
    pub(in crate::cache) fn add(&mut self, list: Option<&str>) {
        let listed = list.and_then(|list| {
            let names = list.split(',').map(str::trim).filter(|name| !name.is_empty());
            names.map(|name| HeaderName::try_from(name).ok()).collect::<Option<SmallVec<_>>>()
        });
        match (&mut *self, listed) {
            (Self::All, _) => {}
            (_, None) => *self = Self::All,
            (Self::Names(names), Some(more)) => names.extend(more),
            (Self::None, Some(names)) => *self = Self::Names(names),
        }
    }
}

/// Of several values the smallest counts.
fn shorten(known: &mut Option<u32>, seconds: u32) {
    *known = Some(known.map_or(seconds, |known| known.min(seconds)));
}

/// A directive.
#[derive(Debug, PartialEq, Eq)]
struct Member {
    /// In lower case.
    name: String,
    value: Option<String>,
    quoted: bool,
}

impl Member {
    /// The list of names that it holds: only a quoted string is one.
    fn list(&self) -> Option<&str> {
        self.value.as_deref().filter(|_| self.quoted)
    }

    /// The seconds it names; 0 where it names none that can be read.
    fn seconds(&self) -> u32 {
        self.number().unwrap_or(0)
    }

    fn number(&self) -> Option<u32> {
        let digits = self.value.as_deref()?;
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        Some(digits.parse::<u32>().map_or(SECONDS_MAX, |seconds| seconds.min(SECONDS_MAX)))
    }
}

/// The members of a comma-separated list. White space around `=` is no part of the grammar; a
/// member with it keeps its name and has a value that no number can be.
fn members(line: &[u8]) -> impl Iterator<Item = Member> {
    let mut rest = line;
    let mut all: SmallVec<[Member; MEMBERS]> = SmallVec::new();
    while !rest.is_empty() {
        let (piece, after) = split(rest);
        rest = after;
        all.extend(member(piece));
    }
    all.into_iter()
}

/// Splits at the first comma outside of a quoted string.
fn split(list: &[u8]) -> (&[u8], &[u8]) {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in list.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => {
                let (piece, after) = list.split_at(at);
                return (piece, after.get(1..).unwrap_or_default());
            }
            _ => {}
        }
    }
    // A string that does not end is none: what stands behind it may be a `no-store`.
    match list.iter().position(|byte| *byte == b',').filter(|_| quoted) {
        Some(at) => {
            let (piece, after) = list.split_at(at);
            (piece, after.get(1..).unwrap_or_default())
        }
        None => (list, &[]),
    }
}

fn member(piece: &[u8]) -> Option<Member> {
    let text = String::from_utf8_lossy(piece);
    let text = text.trim_matches([' ', '\t']);
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (text, None),
    };
    let bare = name.trim_end_matches([' ', '\t']);
    if bare.is_empty() {
        return None;
    }
    // A space that the grammar has no place for makes the value one that cannot be read.
    let value = value.map(|value| if bare.len() < name.len() { " " } else { value });
    let (value, quoted) = match value {
        Some(value) => match unquote(value) {
            Some(inner) => (Some(inner), true),
            None => (Some(value.to_owned()), false),
        },
        None => (None, false),
    };
    Some(Member { name: bare.to_ascii_lowercase(), value, quoted })
}

/// What a quoted string says (RFC 9110 section 5.6.4); none where it is none.
fn unquote(text: &str) -> Option<String> {
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    let (mut said, mut escaped) = (String::with_capacity(inner.len()), false);
    for letter in inner.chars() {
        match letter {
            '\\' if !escaped => escaped = true,
            '"' if !escaped => return None,
            _ => {
                said.push(letter);
                escaped = false;
            }
        }
    }
    (!escaped).then_some(said)
}

#[cfg(test)]
mod tests;
