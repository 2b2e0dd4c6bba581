//! Bytes as lower-case hexadecimal.

use std::fmt::Write;

use super::api_key::KeyHash;

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing into a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The hash that is written so, in either case; none where it is not one.
pub(super) fn unhex(text: &str) -> Option<KeyHash> {
    let mut hash = KeyHash::default();
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != hash.len() || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in hash.iter_mut().zip(pairs) {
        let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|d| u8::try_from(d).ok());
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_read_as_it_is_written() {
        let hash: KeyHash = std::array::from_fn(|at| u8::try_from(at * 8 + 3).unwrap());
        assert_eq!(hex(&[0, 0x0f, 0xa0]), "000fa0");
        assert_eq!(unhex(&hex(&hash)), Some(hash));
        assert_eq!(unhex(&hex(&hash).to_uppercase()), Some(hash));
        for text in ["", "zz", &"0".repeat(63), &"0".repeat(65), &"g".repeat(64), &"+0".repeat(32)]
        {
            assert_eq!(unhex(text), None, "{text}");
        }
    }
}
