//! The third part.

use serde_json::json;

use super::world::base64url;
use super::{SIGNATURE, Table, World};

/// The order of P-256's group, big-endian (SEC 2, 2.4.2).
const P256_ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// The order of Ed25519's group, little-endian (RFC 8032, 5.1).
const ED25519_ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// A good token's message and signature.
struct Signed {
    message: String,
    signature: Vec<u8>,
}

impl Signed {
    fn new(world: &World, algorithm: &str) -> Self {
        let good = world.sound(algorithm, &json!({}));
        let (message, _) = good.rsplit_once('.').unwrap();
        let signature = world.sign(algorithm, message.as_bytes());
        Self { message: message.to_owned(), signature }
    }

    fn with(&self, signature: impl AsRef<[u8]>) -> String {
        format!("{}.{}", self.message, base64url(signature))
    }
}

pub(super) fn add(world: &World, table: &mut Table) {
    for algorithm in ["RS256", "ES256", "EdDSA"] {
        add_any(world, table, algorithm);
    }
    add_rsa(world, table);
    add_ecdsa(world, table);
    add_ed25519(world, table);
}

/// What is wrong with a signature of any algorithm.
fn add_any(world: &World, table: &mut Table, algorithm: &str) {
    let good = Signed::new(world, algorithm);
    let length = good.signature.len();
    let flipped = |at: usize| {
        let mut bytes = good.signature.clone();
        bytes[at] ^= 1;
        good.with(bytes)
    };
    let other = world.sign(algorithm, b"another message");
    let doubled = [&good.signature[..], &good.signature].concat();
    for (name, token) in [
        ("one byte", good.with([0])),
        ("all zero", good.with(vec![0; length])),
        ("all ones", good.with(vec![0xff; length])),
        ("the first bit flipped", flipped(0)),
        ("a bit in the middle flipped", flipped(length / 2)),
        ("the last bit flipped", flipped(length - 1)),
        ("a byte short", good.with(&good.signature[..length - 1])),
        ("a byte short in front", good.with(&good.signature[1..])),
        ("a byte long", good.with([&good.signature[..], &[0]].concat())),
        ("a zero in front", good.with([&[0], &good.signature[..]].concat())),
        ("twice", good.with(doubled)),
        ("half", good.with(&good.signature[..length / 2])),
        ("of another token", good.with(other)),
        ("in base64 of base64", good.with(base64url(&good.signature))),
    ] {
        table.token(format!("signature of {algorithm}: {name}"), token, SIGNATURE);
    }
    let parts: Vec<&str> = good.message.split('.').collect();
    let signature = base64url(&good.signature);
    let payload = base64url(world.claims(&json!({"sub": "root"})).to_string());
    let token = format!("{}.{payload}.{signature}", parts[0]);
    table.token(format!("signature of {algorithm}: another payload"), token, SIGNATURE);
    let header = base64url(World::header(algorithm, &json!({"x": 1})).to_string());
    let token = format!("{header}.{}.{signature}", parts[1]);
    table.token(format!("signature of {algorithm}: another header"), token, SIGNATURE);
}

fn add_rsa(world: &World, table: &mut Table) {
    let good = Signed::new(world, "RS256");
    for other in ["RS384", "RS512", "PS256"] {
        let signature = world.sign(other, good.message.as_bytes());
        let name = format!("a signature of {other} under RS256");
        table.token(name, good.with(signature), SIGNATURE);
    }
    // The same number modulo n.
    let n = world.rsa_parts().n;
    table.token("an RSA signature plus n", good.with(sum(&good.signature, &n)), SIGNATURE);
    table.token("n as RSA signature", good.with(&n), SIGNATURE);
    let mut one = vec![0; n.len()];
    *one.last_mut().unwrap() = 1;
    table.token("1 as RSA signature", good.with(one), SIGNATURE);
}

/// Big-endian addition of numbers of one length.
fn sum(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut digits = Vec::with_capacity(a.len() + 1);
    let mut carry = 0_u16;
    for (a, b) in a.iter().rev().zip(b.iter().rev()) {
        let digit = u16::from(*a) + u16::from(*b) + carry;
        digits.push(digit.to_le_bytes()[0]);
        carry = digit >> 8;
    }
    if carry > 0 {
        digits.push(1);
    }
    digits.reverse();
    digits
}

/// Zeros and multiples of the order, of which one broken verifier said yes to anything
/// (CVE-2022-21449).
fn add_ecdsa(world: &World, table: &mut Table) {
    let good = Signed::new(world, "ES256");
    let (r, s) = good.signature.split_at(32);
    let (zero, n) = ([0_u8; 32], P256_ORDER);
    let mut one = zero;
    one[31] = 1;
    for (name, first, second) in [
        ("r is 0", &zero[..], s),
        ("s is 0", r, &zero[..]),
        ("r is n", &n[..], s),
        ("s is n", r, &n[..]),
        ("r and s are n", &n[..], &n[..]),
        ("r is 1 and s is 0", &one[..], &zero[..]),
        ("r is 0 and s is 1", &zero[..], &one[..]),
        ("r and s are 1", &one[..], &one[..]),
        ("r and s are swapped", s, r),
    ] {
        let name = format!("ES256: {name}");
        table.token(name, good.with([first, second].concat()), SIGNATURE);
    }
    let asn1 = world.sign("ASN.1", good.message.as_bytes());
    table.token("ES256: ASN.1 instead of r and s", good.with(asn1), SIGNATURE);
    table.token("ES256: ASN.1 of zeros", good.with([0x30, 6, 2, 1, 0, 2, 1, 0]), SIGNATURE);
    let wide = [&[0; 16], r, &[0; 16], s].concat();
    table.token("ES256: r and s of 48 bytes", good.with(wide), SIGNATURE);
}

fn add_ed25519(world: &World, table: &mut Table) {
    let good = Signed::new(world, "EdDSA");
    let (r, s) = good.signature.split_at(32);
    // S plus the order is the same number; RFC 8032, 5.1.7 wants the smaller one.
    let mut carry = 0_u16;
    let larger: Vec<u8> = s
        .iter()
        .zip(ED25519_ORDER)
        .map(|(a, b)| {
            let digit = u16::from(*a) + u16::from(b) + carry;
            carry = digit >> 8;
            digit.to_le_bytes()[0]
        })
        .collect();
    table.token("EdDSA: S plus the order", good.with([r, &larger].concat()), SIGNATURE);
    // The neutral point, with which a careless verifier checks nothing.
    let mut neutral = [0_u8; 64];
    neutral[0] = 1;
    table.token("EdDSA: the neutral point", good.with(neutral), SIGNATURE);
    table.token("EdDSA: r and s are swapped", good.with([s, r].concat()), SIGNATURE);
}
