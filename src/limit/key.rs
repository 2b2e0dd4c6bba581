//! The key of a counter, and the words that explain it.
//!
//! Each part goes into SHA-256 with a mark and its length, so that no two lists of parts give
//! the same bytes (R079), and no identity, address or API key stands in Redis. `lua/README.md`
//! shows the layout.

use std::net::IpAddr;

use sha2::{Digest, Sha256};

use super::rule::LimitRule;
use crate::edge::{Facts, Part};

/// Bytes of the hash that names a counter: 128 bits.
const ID_BYTES: usize = 16;

/// Bytes of the hash tag: it only spreads keys over slots, so collisions cost nothing.
const TAG_BYTES: usize = 4;

/// Length of what follows the rule's own prefix: `{TAG}:ID` in hexadecimal.
const TAIL: usize = 2 + 2 * TAG_BYTES + 1 + 2 * ID_BYTES;

/// Marks in front of a part: present, or replaced by the client's address.
const PRESENT: u8 = 1;
const REPLACED: u8 = 0;

/// The key of a rule's counter for a request. One allocation.
pub(super) fn counter_key(rule: &LimitRule, facts: &Facts<'_>) -> String {
    let mut hash = Sha256::new();
    let mut parts = rule.parts.iter();
    if let Some(part) = parts.next() {
        feed(&mut hash, &part.part, facts);
    }
    let mut rest = parts.peekable();
    let (tag, id) = if rest.peek().is_none() {
        let digest = hash.finalize();
        (digest, digest)
    } else {
        let tag = hash.clone().finalize();
        rest.for_each(|part| feed(&mut hash, &part.part, facts));
        (tag, hash.finalize())
    };
    let mut key = String::with_capacity(rule.key_prefix.len() + TAIL);
    key.push_str(&rule.key_prefix);
    key.push('{');
    push_hex(&mut key, tag.iter().take(TAG_BYTES));
    key.push_str("}:");
    push_hex(&mut key, id.iter().take(ID_BYTES));
    key
}

/// Value of each part in words, in the order of the rule; says where a part was missing.
pub(super) fn describe(rule: &LimitRule, facts: &Facts<'_>) -> Vec<(String, String)> {
    let words = |part: &super::rule::RulePart| {
        let value = match &part.part {
            Part::ClientIp => client(facts).to_string(),
            other => present(other, facts).map_or_else(
                || format!("{} (client address: no {})", client(facts), part.word),
                |value| String::from_utf8_lossy(&value).into_owned(),
            ),
        };
        (part.word.to_string(), value)
    };
    rule.parts.iter().map(words).collect()
}

/// Lower-case hexadecimal.
pub(super) fn push_hex<'a>(text: &mut String, bytes: impl IntoIterator<Item = &'a u8>) {
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
        }
    }
}

fn feed(hash: &mut Sha256, part: &Part, facts: &Facts<'_>) {
    if *part == Part::ClientIp {
        return feed_address(hash, PRESENT, client(facts));
    }
    match present(part, facts) {
        Some(value) => feed_bytes(hash, PRESENT, &value),
        // Never unlimited and never one budget for all who lack the part: each client its own.
        None => feed_address(hash, REPLACED, client(facts)),
    }
}

/// A part's value; an empty one says no more than a missing one.
fn present<'a>(part: &Part, facts: &Facts<'a>) -> Option<std::borrow::Cow<'a, [u8]>> {
    part.read(facts).filter(|value| !value.is_empty())
}

/// An IPv4 client is the same client on an IPv6 socket.
fn client(facts: &Facts<'_>) -> IpAddr {
    facts.view.client.to_canonical()
}

fn feed_address(hash: &mut Sha256, mark: u8, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => feed_bytes(hash, mark, &v4.octets()),
        IpAddr::V6(v6) => feed_bytes(hash, mark, &v6.octets()),
    }
}

fn feed_bytes(hash: &mut Sha256, mark: u8, bytes: &[u8]) {
    hash.update([mark]);
    hash.update((bytes.len() as u64).to_be_bytes());
    hash.update(bytes);
}

#[cfg(test)]
mod tests;
