//! The form of API keys: `tg_`, 32 random characters, 6 characters of checksum.
//!
//! The beginning and the checksum let programs that look for leaked secrets tell a key from
//! other text without asking anybody; the expression is `tg_[0-9A-Za-z]{38}`. What is stored is
//! the keyed hash alone (T27).

use std::fmt;

use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};

use super::KeyHash;

/// What every key begins with.
const BEGINNING: &str = "tg_";
/// Random characters of a key: 190 bits.
const RANDOM_CHARS: usize = 32;
/// Characters of checksum: enough for 32 bits.
const CHECK_CHARS: usize = 6;
/// First characters of a key by which people recognise it. The random ones among them are no
/// secret then; those that are left have more than 160 bits.
const PREFIX_CHARS: usize = 8;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Letters of a key's public id: 56 bits.
const ID_CHARS: usize = 12;
/// Fewest bytes of the secret under which keys are hashed.
const HASH_KEY_BYTES_MIN: usize = 32;

/// The text of an API key. Shown once, when it is made; has no `Debug` that would show it.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyText(String);

impl KeyText {
    /// A new key.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn generate() -> Result<Self, &'static str> {
        let random = random_chars(ALPHABET, RANDOM_CHARS)?;
        let body = format!("{BEGINNING}{random}");
        let check = checksum(&body);
        Ok(Self(body + &check))
    }

    /// Whether a text has the form of a key and the right checksum. Says nothing of whether
    /// there is such a key.
    #[must_use]
    pub fn check(text: &str) -> bool {
        let length = BEGINNING.len() + RANDOM_CHARS;
        text.len() == length + CHECK_CHARS
            && text.starts_with(BEGINNING)
            && text.bytes().skip(BEGINNING.len()).all(|byte| byte.is_ascii_alphanumeric())
            && text.split_at_checked(length).is_some_and(|(body, check)| checksum(body) == check)
    }

    /// The key itself, for the one time that it is shown.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What people recognise the key by.
    #[must_use]
    pub fn prefix(&self) -> &str {
        self.0.get(..PREFIX_CHARS).unwrap_or_default()
    }
}

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyText({}…)", self.prefix())
    }
}

/// The secret under which keys are hashed.
#[derive(Clone)]
pub struct HashKey(hmac::Key);

impl HashKey {
    /// Takes the secret.
    ///
    /// # Errors
    /// When it is too short; the number is how long it is, in bytes.
    pub fn new(secret: &str) -> Result<Self, usize> {
        if secret.len() < HASH_KEY_BYTES_MIN {
            return Err(secret.len());
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes())))
    }

    /// The hash of a key: what is stored and looked up.
    #[must_use]
    pub fn hash(&self, text: impl AsRef<[u8]>) -> KeyHash {
        hash(&self.0, text)
    }
}

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey")
    }
}

/// The hash of a key under a secret: HMAC-SHA-256.
pub(in crate::auth) fn hash(secret: &hmac::Key, text: impl AsRef<[u8]>) -> KeyHash {
    let mut hash = KeyHash::default();
    let tag = hmac::sign(secret, text.as_ref());
    // HMAC-SHA-256 is as long as the array; zip cannot leave anything out.
    hash.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
    hash
}

/// A new public id of a key.
///
/// # Errors
/// When the system has no random numbers.
pub(super) fn new_id() -> Result<String, &'static str> {
    random_chars(b"abcdefghijklmnopqrstuvwxyz", ID_CHARS).map(|letters| format!("key_{letters}"))
}

/// Random characters of an alphabet, each as likely as the other.
fn random_chars(alphabet: &[u8], count: usize) -> Result<String, &'static str> {
    let system = SystemRandom::new();
    let usable = 256 - 256 % alphabet.len();
    let mut text = String::with_capacity(count);
    while text.len() < count {
        let mut bytes = [0_u8; 64];
        system.fill(&mut bytes).map_err(|_| "the system has no random numbers")?;
        // Bytes above the last whole multiple would make the first characters likelier.
        let good = bytes.iter().map(|byte| usize::from(*byte)).filter(|byte| *byte < usable);
        let chars = good.filter_map(|byte| alphabet.get(byte % alphabet.len()));
        text.extend(chars.take(count - text.len()).map(|byte| char::from(*byte)));
    }
    Ok(text)
}

/// The checksum of a key's body: its CRC-32 in the alphabet, most significant character first.
pub(in crate::auth) fn checksum(body: &str) -> String {
    let mut rest = crc32(body.as_bytes());
    let mut chars = [b'0'; CHECK_CHARS];
    for place in chars.iter_mut().rev() {
        let digit = usize::try_from(rest % 62).unwrap_or(0);
        *place = ALPHABET.get(digit).copied().unwrap_or(b'0');
        rest /= 62;
    }
    chars.iter().map(|byte| char::from(*byte)).collect()
}

/// CRC-32 as in ISO 3309 and Ethernet.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let carry = crc & 1;
            crc = (crc >> 1) ^ (0xEDB8_8320 * carry);
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_the_documented_form() {
        let form = regex::Regex::new("^tg_[0-9A-Za-z]{38}$").unwrap();
        let mut seen = std::collections::HashSet::new();
        for _ in 0..200 {
            let key = KeyText::generate().unwrap();
            assert!(form.is_match(key.reveal()), "{}", key.reveal());
            assert!(KeyText::check(key.reveal()));
            assert_eq!(key.prefix().len(), 8);
            assert!(key.reveal().starts_with(key.prefix()));
            assert!(seen.insert(key.reveal().to_owned()));
            assert!(!format!("{key:?}").contains(key.reveal()));
        }
    }

    #[test]
    fn the_checksum_is_crc_32() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(crc32(b""), 0);
        // By another implementation of CRC-32, zlib's: 0xCA0A88E8.
        let body = format!("tg_{}", "0".repeat(32));
        assert_eq!(checksum(&body), "3hOmhk");
        assert!(KeyText::check(&format!("{body}{}", checksum(&body))));
    }

    #[test]
    fn one_wrong_character_is_noticed() {
        let key = KeyText::generate().unwrap();
        let text = key.reveal();
        for at in 0..text.len() {
            let mut wrong = text.to_owned().into_bytes();
            wrong[at] = if wrong[at] == b'a' { b'b' } else { b'a' };
            let wrong = String::from_utf8(wrong).unwrap();
            assert!(!KeyText::check(&wrong), "{wrong}");
        }
        for wrong in ["", "tg_", &text[..40], &format!("{text}a"), &format!(" {}", &text[1..])] {
            assert!(!KeyText::check(wrong), "{wrong}");
        }
        // As many bytes, not as many characters.
        let umlauts = format!("tg_{}", "ä".repeat(19));
        assert_eq!(umlauts.len(), text.len());
        assert!(!KeyText::check(&umlauts));
    }

    #[test]
    fn all_characters_occur_about_equally_often() {
        let mut counts = [0_u32; 256];
        for byte in random_chars(ALPHABET, 62_000).unwrap().bytes() {
            counts[usize::from(byte)] += 1;
        }
        for byte in ALPHABET {
            let count = counts[usize::from(*byte)];
            // Six standard deviations around 1000.
            assert!((810..1190).contains(&count), "{}: {count}", char::from(*byte));
        }
    }

    #[test]
    fn a_short_secret_is_refused_and_none_is_shown() {
        assert_eq!(HashKey::new(&"x".repeat(31)).err(), Some(31));
        let secret = HashKey::new(&"x".repeat(32)).unwrap();
        assert_eq!(format!("{secret:?}"), "HashKey");
        assert_eq!(secret.hash("a"), hash(&secret.0, "a"));
        assert_ne!(secret.hash("a"), secret.hash("b"));
        assert_ne!(secret.hash("a"), HashKey::new(&"y".repeat(32)).unwrap().hash("a"));
    }

    /// RFC 4231, test case 2, has a shorter key than is taken here; case 6 a longer one.
    #[test]
    fn the_hash_is_hmac_sha_256() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &[0xaa; 131]);
        let text = "Test Using Larger Than Block-Size Key - Hash Key First";
        let begin = [0x60, 0xe4, 0x31, 0x59, 0x1e, 0xe0, 0xb6, 0x7f];
        assert_eq!(hash(&key, text)[..8], begin);
    }
}
