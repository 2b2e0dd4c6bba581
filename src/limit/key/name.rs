//! A counter's key, read back from its name.

use super::{CounterKey, ID_BYTES, TAG_BYTES};

impl CounterKey {
    /// The key of a counter from the part of its name behind the prefix of its rule,
    /// `{TAG}:ID`; none where that is not the name of one.
    #[must_use]
    pub(in crate::limit) fn parse(tail: &str) -> Option<Self> {
        let (tag, id) = tail.strip_prefix('{')?.split_once("}:")?;
        Some(Self { id: unhex::<ID_BYTES>(id)?, tag: unhex::<TAG_BYTES>(tag)? })
    }
}

/// Bytes of lower-case hexadecimal, exactly so many.
fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}
