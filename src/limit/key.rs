//! The key of a counter.
//!
//! Each part goes into SHA-256 with a mark and its length, so that no two lists of parts give
//! the same bytes (R079), and no identity, address or API key stands in Redis. `lua/README.md`
//! shows the layout. What a part holds, and what stands for one that is missing, is in
//! [`value`](value::read).

mod name;
mod value;
mod words;

use sha2::{Digest, Sha256};

use super::rule::{LimitRule, Missing, RulePart, Tier};
use crate::edge::Facts;
use value::Value;

pub(super) use words::describe;

/// Bytes of the hash that names a counter: 128 bits.
const ID_BYTES: usize = 16;

/// Bytes of the hash tag: it only spreads keys over slots, so collisions cost nothing.
const TAG_BYTES: usize = 4;

/// Length of what follows the rule's own prefix: `{TAG}:ID` in hexadecimal.
const TAIL: usize = 2 + 2 * TAG_BYTES + 1 + 2 * ID_BYTES;

/// The key of a counter: unambiguous among all rules, without the deployment's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CounterKey {
    id: [u8; ID_BYTES],
    tag: [u8; TAG_BYTES],
}

impl std::hash::Hash for CounterKey {
    /// The id alone: it names the counter, the tag follows from the same parts.
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        state.write_u128(u128::from_be_bytes(self.id));
    }
}

impl CounterKey {
    /// Its name in Redis behind the deployment's prefix: `rl2:NAME:FINGERPRINT:{TAG}:ID`.
    #[must_use]
    pub fn name(&self, tier: &Tier) -> String {
        self.name_behind("", tier)
    }

    /// The same with the deployment's prefix.
    pub(super) fn name_behind(&self, prefix: &str, tier: &Tier) -> String {
        let length = prefix.len() + tier.key_prefix.len() + TAIL;
        let mut name = String::with_capacity(length);
        name.push_str(prefix);
        name.push_str(&tier.key_prefix);
        name.push('{');
        push_hex(&mut name, &self.tag);
        name.push_str("}:");
        push_hex(&mut name, &self.id);
        name
    }

    /// Whether both keys have one hash tag, so that a cluster keeps them in one slot.
    #[must_use]
    pub fn shares_tag(&self, other: &Self) -> bool {
        self.tag == other.tag
    }

    /// A key by its number, for tests of what keeps keys.
    #[cfg(test)]
    pub(super) fn numbered(number: u128) -> Self {
        Self { id: number.to_be_bytes(), tag: [0; TAG_BYTES] }
    }

    /// The same with a tag of its own.
    #[cfg(test)]
    pub(super) fn tagged(number: u128, tag: u8) -> Self {
        Self { tag: [tag; TAG_BYTES], ..Self::numbered(number) }
    }
}

/// What binds the keys of a tier to it, worked out when the rule is compiled.
#[derive(Clone, Debug)]
pub(super) struct Seed {
    /// The hash of the tier's prefix.
    prefix: [u8; 32],
    /// A hash that has taken in whole blocks of the prefix, so that a request hashes its own
    /// parts alone.
    state: Sha256,
}

impl Seed {
    /// The seed of a tier by the prefix of its keys.
    pub(super) fn new(key_prefix: &str) -> Self {
        let prefix: [u8; 32] = Sha256::digest(key_prefix).into();
        let mut state = Sha256::new();
        // Twice: the hash works in blocks of 64 bytes.
        state.update(prefix);
        state.update(prefix);
        Self { prefix, state }
    }

    /// A key of one part, from that part's hash: a request pays for one hash, and the tag is
    /// the one that longer keys get that begin with the same part. Two tiers with one id would
    /// need two values whose hashes differ by exactly what the tiers' prefixes do.
    fn bind(&self, hash: &[u8; 32]) -> [u8; ID_BYTES] {
        let (_, rest) = hash.split_at(TAG_BYTES);
        let mut id = [0; ID_BYTES];
        for ((byte, own), prefix) in id.iter_mut().zip(rest).zip(&self.prefix) {
            *byte = own ^ prefix;
        }
        id
    }
}

/// Marks in front of a part: what it holds, or what was put in its place. A value that stands
/// for a missing part is never taken for the part itself, so nobody reaches the budget of
/// another by leaving something out.
const BY_CLIENT: u8 = 0;
const PRESENT: u8 = 1;
const BY_PART: u8 = 2;

/// The key of a rule's counter for a request. Allocates nothing, but for claims that are objects
/// of many members.
///
/// # Errors
/// The part that the request lacks, where the rule lets nothing stand for it.
pub(super) fn counter_key<'r>(
    rule: &'r LimitRule,
    tier: &Tier,
    facts: &Facts<'_>,
) -> Result<CounterKey, &'r RulePart> {
    let mut parts = rule.parts.iter();
    let mut hash = Sha256::new();
    if let Some(first) = parts.next() {
        feed(&mut hash, rule, first, facts)?;
    }
    let first: [u8; 32] = hash.finalize().into();
    let tag = head(&first);
    if rule.parts.len() == 1 {
        return Ok(CounterKey { id: tier.seed.bind(&first), tag });
    }
    let mut hash = tier.seed.state.clone();
    hash.update(first);
    for part in parts {
        feed(&mut hash, rule, part, facts)?;
    }
    Ok(CounterKey { id: head(&hash.finalize()), tag })
}

/// The first bytes of a hash.
pub(super) fn head<const N: usize>(digest: &[u8]) -> [u8; N] {
    digest.first_chunk().copied().unwrap_or([0; N])
}

/// Lower-case hexadecimal.
pub(super) fn push_hex<const N: usize>(text: &mut String, bytes: &[u8; N]) {
    const fn digit(value: u8) -> u8 {
        value + if value < 10 { b'0' } else { b'a' - 10 }
    }
    let mut digits = [[0; 2]; N];
    for (pair, byte) in digits.iter_mut().zip(bytes) {
        *pair = [digit(byte >> 4), digit(byte & 15)];
    }
    text.push_str(std::str::from_utf8(digits.as_flattened()).unwrap_or_default());
}

/// What counts for a part of a request's key, and how it came there.
enum Stands<'a> {
    /// The part itself.
    Present(Value<'a>),
    /// The part that the rule names for that.
    Part(Value<'a>, &'a RulePart),
    /// The client's address.
    Client(Value<'a>),
}

/// Never unlimited and never one budget for all who lack the part, unless the rule says so.
fn stands<'a>(
    rule: &'a LimitRule,
    part: &'a RulePart,
    facts: &Facts<'a>,
) -> Result<Stands<'a>, &'a RulePart> {
    if let Some(value) = value::read(&part.part, facts, rule.prefixes) {
        return Ok(Stands::Present(value));
    }
    match &rule.missing {
        // Who only counts refuses nobody.
        Missing::Refuse if !rule.shadow => return Err(part),
        Missing::Part(other) => {
            if let Some(value) = value::read(&other.part, facts, rule.prefixes) {
                return Ok(Stands::Part(value, other));
            }
        }
        Missing::Refuse | Missing::Client => {}
    }
    Ok(Stands::Client(value::client(facts, rule.prefixes)))
}

fn feed<'r>(
    hash: &mut Sha256,
    rule: &'r LimitRule,
    part: &'r RulePart,
    facts: &Facts<'_>,
) -> Result<(), &'r RulePart> {
    // The part outlives what the request holds.
    let stands = stands(rule, part, facts).map_err(|_| part)?;
    let (mark, value) = match stands {
        Stands::Present(value) => (PRESENT, value),
        Stands::Part(value, _) => (BY_PART, value),
        Stands::Client(value) => (BY_CLIENT, value),
    };
    hash.update([mark]);
    value.feed(hash);
    Ok(())
}

#[cfg(test)]
mod tests;
