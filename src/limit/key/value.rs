//! What a part of a key holds for a request, and how it goes into a hash.
//!
//! Every value ends by itself, by its length or its count, so nothing that one part ends with
//! can be what the next begins with. An empty value says no more than a missing one.

use std::net::IpAddr;

use http::HeaderMap;
use http::header::HeaderName;
use serde_json::{Map, Number, Value as Json};
use sha2::{Digest, Sha256};
use smallvec::SmallVec;

use super::super::rule::Prefixes;
use crate::edge::{Facts, Part};

/// What a part holds.
pub(super) enum Value<'a> {
    /// The same for every request.
    Nothing,
    Bytes(&'a [u8]),
    /// A header, all of its lines.
    Lines(Lines<'a>),
    /// A claim that is no text.
    Json(&'a Json),
    /// An address, its last bits cleared, and how many are left.
    Address(IpAddr, u8),
}

/// The lines of a header that are not empty. Several lines say the same as one line with commas
/// (RFC 9110 section 5.3), so they count as the same.
#[derive(Clone)]
pub(super) struct Lines<'a> {
    headers: &'a HeaderMap,
    name: &'a HeaderName,
}

impl<'a> Lines<'a> {
    /// The lines, in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &'a [u8]> {
        let lines = self.headers.get_all(self.name).iter();
        lines.map(|line| line.as_bytes().trim_ascii()).filter(|line| !line.is_empty())
    }
}

/// Between two lines.
pub(super) const COMMA: &[u8] = b", ";

/// What the part holds; none where the request lacks it.
pub(super) fn read<'a>(part: &'a Part, facts: &Facts<'a>, prefixes: Prefixes) -> Option<Value<'a>> {
    let text = |text: &'a str| (!text.is_empty()).then_some(Value::Bytes(text.as_bytes()));
    let identity = facts.identity;
    match part {
        Part::TenantId => text(identity?.tenant_id.as_deref()?),
        Part::UserId => text(&identity?.subject),
        Part::ApiKey => text(identity?.api_key.as_deref()?),
        Part::Plan => text(identity?.plan.as_deref()?),
        Part::ClientIp => Some(client(facts, prefixes)),
        Part::RouteName => text(facts.route),
        Part::Service => text(facts.service),
        Part::Global => Some(Value::Nothing),
        Part::RequestId => text(facts.request_id),
        Part::Random => None,
        Part::Header(name) => {
            let lines = Lines { headers: facts.view.headers, name };
            lines.iter().next()?;
            Some(Value::Lines(lines))
        }
        Part::Cookie(name) => text(facts.view.cookie(name)?),
        Part::Claim(name) => match identity?.claims.get(&**name)? {
            Json::Null => None,
            Json::String(claim) => text(claim),
            Json::Array(items) if items.is_empty() => None,
            Json::Object(members) if members.is_empty() => None,
            other => Some(Value::Json(other)),
        },
    }
}

/// The client's address as far as the rule tells clients apart. An IPv4 client is the same client
/// on an IPv6 socket.
pub(super) fn client<'a>(facts: &Facts<'_>, prefixes: Prefixes) -> Value<'a> {
    match facts.view.client.to_canonical() {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefixes.v4.min(32))).unwrap_or(0);
            Value::Address(IpAddr::V4((v4.to_bits() & mask).into()), prefixes.v4)
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefixes.v6.min(128))).unwrap_or(0);
            Value::Address(IpAddr::V6((v6.to_bits() & mask).into()), prefixes.v6)
        }
    }
}

impl Value<'_> {
    /// Takes the value in, with its length.
    pub(super) fn feed(&self, hash: &mut Sha256) {
        match self {
            Self::Nothing => feed_bytes(hash, b""),
            Self::Bytes(bytes) => feed_bytes(hash, bytes),
            Self::Lines(lines) => {
                let length: usize = lines.iter().map(|line| line.len() + COMMA.len()).sum();
                feed_length(hash, length.saturating_sub(COMMA.len()));
                for (n, line) in lines.iter().enumerate() {
                    if n > 0 {
                        hash.update(COMMA);
                    }
                    hash.update(line);
                }
            }
            Self::Json(json) => {
                // No text is this long: a claim `"1"` is not a claim `1`.
                hash.update(u64::MAX.to_be_bytes());
                feed_json(hash, json);
            }
            Self::Address(IpAddr::V4(v4), _) => feed_bytes(hash, &v4.octets()),
            Self::Address(IpAddr::V6(v6), _) => feed_bytes(hash, &v6.octets()),
        }
    }
}

fn feed_bytes(hash: &mut Sha256, bytes: &[u8]) {
    feed_length(hash, bytes.len());
    hash.update(bytes);
}

fn feed_length(hash: &mut Sha256, length: usize) {
    hash.update((length as u64).to_be_bytes());
}

/// JSON by what it says: the order of an object's members and the spelling of a number are
/// nothing that a caller is told apart by; the order of a list is.
fn feed_json(hash: &mut Sha256, json: &Json) {
    match json {
        Json::Null => hash.update(b"z"),
        Json::Bool(false) => hash.update(b"f"),
        Json::Bool(true) => hash.update(b"t"),
        Json::Number(number) => feed_number(hash, number),
        Json::String(text) => {
            hash.update(b"s");
            feed_bytes(hash, text.as_bytes());
        }
        Json::Array(items) => {
            hash.update(b"a");
            feed_length(hash, items.len());
            for item in items {
                feed_json(hash, item);
            }
        }
        Json::Object(members) => {
            hash.update(b"o");
            feed_length(hash, members.len());
            for (name, value) in sorted(members) {
                feed_bytes(hash, name.as_bytes());
                feed_json(hash, value);
            }
        }
    }
}

/// An object's members by name.
pub(super) fn sorted(members: &Map<String, Json>) -> SmallVec<[(&String, &Json); 8]> {
    let mut sorted: SmallVec<[_; 8]> = members.iter().collect();
    sorted.sort_unstable_by_key(|(name, _)| *name);
    sorted
}

/// Whole numbers as such, however they are written.
#[expect(clippy::cast_possible_truncation, reason = "below 2^53")]
fn feed_number(hash: &mut Sha256, number: &Number) {
    /// Below this every whole number has a float of its own: 2^53.
    const WHOLE: f64 = 9_007_199_254_740_992.0;
    let float = || number.as_f64().unwrap_or_default();
    let whole = || {
        let float = Some(float()).filter(|float| float.abs() < WHOLE)?;
        let whole = float as i64;
        #[expect(clippy::float_cmp, clippy::cast_precision_loss, reason = "exact below 2^53")]
        let same = whole as f64 == float;
        same.then_some(whole)
    };
    if let Some(number) = number.as_i64().or_else(whole) {
        hash.update(b"i");
        hash.update(number.to_be_bytes());
    } else if let Some(number) = number.as_u64() {
        hash.update(b"u");
        hash.update(number.to_be_bytes());
    } else {
        hash.update(b"d");
        hash.update(float().to_bits().to_be_bytes());
    }
}
