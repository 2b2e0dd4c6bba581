//! `MurmurHash3`, 32 bits, x86 variant (Austin Appleby, public domain algorithm).
//!
//! Blocks are read in little-endian order whatever the machine, and the result is unsigned
//! (T17), so that every node, every restart and every other program that knows the algorithm
//! computes the same bucket for the same key (R042).

/// The hash of `key` under `seed`.
#[must_use]
pub fn murmur3_32(key: &[u8], seed: u32) -> u32 {
    let (blocks, tail) = key.as_chunks::<4>();
    let mut hash = seed;
    for block in blocks {
        hash ^= scramble(u32::from_le_bytes(*block));
        hash = hash.rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    }
    // A missing byte counts as zero, and a block of zeros scrambles to zero: an empty tail needs
    // no case of its own.
    let mut last = [0; 4];
    for (to, from) in last.iter_mut().zip(tail) {
        *to = *from;
    }
    hash ^= scramble(u32::from_le_bytes(last));
    finish(hash ^ length_word(key))
}

/// The length of the key modulo 2^32, as the algorithm wants it.
#[expect(clippy::cast_possible_truncation, reason = "the algorithm mixes in 32 bits of it")]
const fn length_word(key: &[u8]) -> u32 {
    key.len() as u32
}

const fn scramble(block: u32) -> u32 {
    block.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593)
}

const fn finish(mut hash: u32) -> u32 {
    hash ^= hash >> 16;
    hash = hash.wrapping_mul(0x85eb_ca6b);
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}

#[cfg(test)]
mod tests {
    use super::murmur3_32;

    #[test]
    fn published_vectors() {
        let vectors: &[(&[u8], u32, u32)] = &[
            (b"", 0, 0),
            (b"", 1, 0x514e_28b7),
            (b"", 0xffff_ffff, 0x81f1_6f39),
            (&[0xff, 0xff, 0xff, 0xff], 0, 0x7629_3b50),
            (&[0x21, 0x43, 0x65, 0x87], 0, 0xf55b_516b),
            (&[0x21, 0x43, 0x65, 0x87], 0x5082_edee, 0x2362_f9de),
            (&[0x21, 0x43, 0x65], 0, 0x7e4a_8634),
            (&[0x21, 0x43], 0, 0xa0f7_b07a),
            (&[0x21], 0, 0x7266_1cf4),
            (&[0, 0, 0, 0], 0, 0x2362_f9de),
            (&[0, 0, 0], 0, 0x85f0_b427),
            (&[0, 0], 0, 0x30f4_c306),
            (&[0], 0, 0x514e_28b7),
            (b"a", 0x9747_b28c, 0x7fa0_9ea6),
            (b"ab", 0x9747_b28c, 0x7487_5592),
            (b"abc", 0x9747_b28c, 0xc84a_62dd),
            (b"abcd", 0x9747_b28c, 0xf047_8627),
            (b"test", 0, 0xba6b_d213),
            (b"test", 0x9747_b28c, 0x704b_81dc),
            (b"Hello, world!", 0, 0xc036_3e43),
            (b"Hello, world!", 0x9747_b28c, 0x2488_4cba),
            (b"The quick brown fox jumps over the lazy dog", 0, 0x2e4f_f723),
            (b"The quick brown fox jumps over the lazy dog", 0x9747_b28c, 0x2fa8_26cd),
        ];
        for (key, seed, hash) in vectors {
            assert_eq!(murmur3_32(key, *seed), *hash, "key {key:?}, seed {seed:#x}");
        }
    }

    /// The verification value of the reference test suite: hashes of 256 growing keys under
    /// falling seeds, hashed together. It covers every length of tail many times.
    #[test]
    fn verification_value_of_the_reference_suite() {
        let key: Vec<u8> = (0..=255).collect();
        let hashes: Vec<u8> = (0..256_u32)
            .flat_map(|n| murmur3_32(&key[..n as usize], 256 - n).to_le_bytes())
            .collect();
        assert_eq!(murmur3_32(&hashes, 0), 0xb0f5_7ee3);
    }
}
