//! The id that joins a client, our log, the upstream's log and the trace.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::hex::write_hex;

/// The header that carries the id in both directions.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest id taken from a client, in bytes.
const CLIENT_ID_BYTES_MAX: usize = 128;

/// A request id: the client's, where it is sound, or one of ours. Held as the header value that
/// the upstream and the client get, so that all of them share its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// Keeps the client's `x-request-id` if it is 1 to 128 characters of
    /// `A-Z a-z 0-9 - _ . : / + = @`, else mints one from 128 bits of entropy: 32 hexadecimal
    /// digits in lower case. A repeated header is not kept: readers would choose differently.
    #[must_use]
    pub fn accept_or_mint(headers: &HeaderMap, entropy: u128) -> Self {
        let mut lines = headers.get_all(X_REQUEST_ID).iter();
        match (lines.next(), lines.next()) {
            (Some(id), None) if is_sound(id.as_bytes()) => Self(id.clone()),
            _ => Self::mint(entropy),
        }
    }

    fn mint(entropy: u128) -> Self {
        let mut digits = [0; 32];
        write_hex(&mut digits, entropy);
        Self(HeaderValue::from_bytes(&digits).unwrap_or(HeaderValue::from_static("-")))
    }

    /// The id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Both makers let only ASCII in.
        self.0.to_str().unwrap_or_default()
    }

    /// The id as the value of a header.
    #[must_use]
    pub fn header_value(&self) -> HeaderValue {
        self.0.clone()
    }
}

fn is_sound(id: &[u8]) -> bool {
    let sound = |byte: &u8| {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'_' | b'.' | b':' | b'/' | b'+' | b'=' | b'@')
    };
    (1..=CLIENT_ID_BYTES_MAX).contains(&id.len()) && id.iter().all(sound)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINTED: &str = "000000000000000000000000000000ff";

    fn id_for(lines: &[&[u8]]) -> String {
        let headers: HeaderMap = lines
            .iter()
            .map(|line| (X_REQUEST_ID, HeaderValue::from_bytes(line).unwrap()))
            .collect();
        RequestId::accept_or_mint(&headers, 0xff).as_str().to_owned()
    }

    #[test]
    fn a_sound_id_is_kept() {
        let longest = "a".repeat(128);
        for id in ["a", "0f8fad5b-d9cb-469f-a165-70867728950e", "A-z_0.:/+=@", &longest] {
            assert_eq!(id_for(&[id.as_bytes()]), id);
        }
    }

    #[test]
    fn anything_else_is_replaced() {
        let too_long = "a".repeat(129);
        let unsound: [&[u8]; 8] =
            [b"", b"a b", b"a,b", b"a\"b", b"<a>", b"a\tb", b"\xc3\xa9", too_long.as_bytes()];
        for id in unsound {
            assert_eq!(id_for(&[id]), MINTED, "{id:?}");
        }
        assert_eq!(id_for(&[]), MINTED);
        assert_eq!(id_for(&[b"a", b"a"]), MINTED);
    }

    #[test]
    fn minted_ids_are_32_lower_case_digits() {
        let id = RequestId::accept_or_mint(&HeaderMap::new(), 0xABCD << 112 | 0xEF);
        assert_eq!(id.as_str(), "abcd00000000000000000000000000ef");
        assert_eq!(id.header_value(), id.as_str());
        let id = RequestId::accept_or_mint(&HeaderMap::new(), u128::MAX);
        assert_eq!(id.as_str(), "f".repeat(32));
    }
}
