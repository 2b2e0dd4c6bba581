//! Where an entry is in Redis.

use pingora_cache::key::CacheHashKey;
use sha2::{Digest, Sha256};

use crate::edge::hex;

/// The name of an entry's place: 64 hexadecimal digits under `cache:` (R145). The first 32 are
/// those of the entry's key, as it is shown to operators; the others tell variants apart. It
/// holds nothing that a client could choose, and follows from what a purge by key knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name(pub(super) [u8; 32]);

impl Name {
    /// The place of the entry, or of the variant, under that key.
    pub(super) fn of(key: &impl CacheHashKey) -> Self {
        let mut hash = Sha256::new();
        hash.update(key.primary_bin());
        if let Some(variance) = key.variance_bin() {
            hash.update(variance);
        }
        let bytes = key.primary_bin().into_iter().chain(hash.finalize());
        let mut name = [0; 32];
        name.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
        Self(name)
    }

    /// The key of the head; `prefix` is `PREFIX:`. The braces keep head and chunks in one slot of
    /// a cluster.
    pub(super) fn head(&self, prefix: &str) -> String {
        let mut key = String::with_capacity(prefix.len() + 72);
        key.push_str(prefix);
        key.push_str("cache:{");
        key.push_str(&hex(&self.0));
        key.push('}');
        key
    }
}

/// The key of one chunk of a body; `head` is the key of its head. The generation is another for
/// every body written, so that chunks of two bodies never meet.
pub(super) fn chunk(head: &str, generation: u64, index: u64) -> String {
    format!("{head}:{generation:016x}:{index}")
}

#[cfg(test)]
mod tests {
    use pingora_cache::CacheKey;

    use super::*;

    #[test]
    fn a_name_is_64_digits_and_its_own() {
        let mut key = CacheKey::new("any", "");
        key.set_primary_bin_override([0xab; 16]);
        let primary = Name::of(&key);
        assert_eq!(primary, Name::of(&key.to_compact()), "a purge by key finds it");
        let text = primary.head("tg:");
        let digits = text.strip_prefix("tg:cache:{").unwrap().strip_suffix('}').unwrap();
        assert_eq!(digits.len(), 64);
        assert!(digits.starts_with(&"ab".repeat(16)));

        key.set_variance_key([1; 16]);
        let variant = Name::of(&key);
        assert_ne!(variant, primary);
        assert_eq!(variant, Name::of(&key.to_compact()));
        key.set_variance_key([2; 16]);
        assert_ne!(Name::of(&key), variant);
        assert_eq!(chunk("h", 10, 3), "h:000000000000000a:3");
    }
}
