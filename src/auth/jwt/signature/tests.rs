mod published;

use jsonwebtoken::AlgorithmFamily;

use super::*;
use crate::auth::jwt::key::{Key, PemRefused};
use crate::auth::testing::{RSA_PRIVATE, RSA_PUBLIC, RSA_SHORT, SECRET, Signer, der};

const ASYMMETRIC: [&str; 9] =
    ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];

fn decoding_key(signer: &Signer) -> DecodingKey {
    match signer {
        Signer::Secret(secret) => DecodingKey::from_secret(secret),
        Signer::Rsa(_) => DecodingKey::from_rsa_pem(RSA_PUBLIC.as_bytes()).unwrap(),
        Signer::P256(_) | Signer::P384(_) => {
            DecodingKey::from_ec_pem(signer.pem().as_bytes()).unwrap()
        }
        Signer::Ed25519(_) => DecodingKey::from_ed_pem(signer.pem().as_bytes()).unwrap(),
    }
}

#[test]
fn each_algorithm_accepts_its_signature_and_no_other_bytes() {
    for name in ASYMMETRIC.iter().chain(&["HS256", "HS384", "HS512"]) {
        let algorithm: Algorithm = name.parse().unwrap();
        let signer = Signer::new(name);
        let verifier = SignatureVerifier::new(algorithm, &decoding_key(&signer)).unwrap();
        assert_eq!(verifier.algorithm(), algorithm);
        let mut signature = signer.sign(name, b"message");
        assert!(verifier.verify(b"message", &signature).is_ok(), "{name}");
        assert!(verifier.verify(b"massage", &signature).is_err(), "{name}");
        assert!(verifier.verify(b"message", &Vec::new()).is_err(), "{name}");
        signature[7] ^= 1;
        assert!(verifier.verify(b"message", &signature).is_err(), "{name}");
    }
}

#[test]
fn a_signature_of_another_hash_or_padding_is_refused() {
    let signer = Signer::new("RS256");
    let key = decoding_key(&signer);
    for signed in &ASYMMETRIC[..6] {
        let signature = signer.sign(signed, b"message");
        for checked in &ASYMMETRIC[..6] {
            let verifier = SignatureVerifier::new(checked.parse().unwrap(), &key).unwrap();
            let verdict = verifier.verify(b"message", &signature).is_ok();
            assert_eq!(verdict, signed == checked, "{signed} as {checked}");
        }
    }
}

#[test]
fn asn1_signatures_of_curves_are_refused() {
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
    let random = SystemRandom::new();
    let kind = &ECDSA_P256_SHA256_ASN1_SIGNING;
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(kind, pkcs8.as_ref(), &random).unwrap();
    let key = DecodingKey::from_ec_der(pair.public_key().as_ref());
    let verifier = SignatureVerifier::new(Algorithm::ES256, &key).unwrap();
    let signature = pair.sign(&random, b"message").unwrap().as_ref().to_vec();
    assert!(verifier.verify(b"message", &signature).is_err());
}

#[test]
fn a_public_key_cannot_become_an_hmac_secret() {
    let key = decoding_key(&Signer::new("RS256"));
    let refused = SignatureVerifier::new(Algorithm::HS256, &key).unwrap_err();
    assert_eq!(refused, KeyRefused::Family);
    let secret = DecodingKey::from_secret(SECRET.as_bytes());
    assert_eq!(SignatureVerifier::new(Algorithm::RS256, &secret).unwrap_err(), KeyRefused::Family);
}

#[test]
fn a_curve_belongs_to_one_algorithm() {
    for (name, wrong) in [("ES256", Algorithm::ES384), ("ES384", Algorithm::ES256)] {
        let key = decoding_key(&Signer::new(name));
        assert_eq!(SignatureVerifier::new(wrong, &key).unwrap_err(), KeyRefused::Curve);
    }
    let short = DecodingKey::from_ed_der(&[1; 31]);
    assert_eq!(SignatureVerifier::new(Algorithm::EdDSA, &short).unwrap_err(), KeyRefused::Curve);
}

#[test]
fn rsa_keys_have_2048_to_8192_bits() {
    let bits = |modulus: &[u8]| {
        let key = DecodingKey::from_rsa_raw_components(modulus, &[1, 0, 1]);
        SignatureVerifier::new(Algorithm::RS256, &key).err()
    };
    assert_eq!(bits(&[0x81; 256]), None);
    assert_eq!(bits(&[0x7f; 256]), Some(KeyRefused::RsaBits(2047)));
    assert_eq!(bits(&[0x81; 1024]), None);
    assert_eq!(bits(&[0x81; 1025]), Some(KeyRefused::RsaBits(8200)));
    assert_eq!(bits(&[]), Some(KeyRefused::RsaBits(0)));
    assert_eq!(bits(&[0; 256]), Some(KeyRefused::RsaBits(0)));
    // A sign byte, as some issuers publish it, counts for nothing.
    assert_eq!(bits(&[&[0][..], &[0x81; 256]].concat()), None);
    assert_eq!(bits(&[0x80; 256]), Some(KeyRefused::RsaNumbers), "even");
    let refused = Key::from_pem(RSA_SHORT.as_bytes()).unwrap_err();
    assert_eq!(refused, PemRefused::Key(KeyRefused::RsaBits(1024)));
}

#[test]
fn exponents_are_odd_and_at_least_three() {
    let exponent = |bytes: &[u8]| {
        let key = DecodingKey::from_rsa_raw_components(&[0x81; 256], bytes);
        SignatureVerifier::new(Algorithm::RS256, &key).err()
    };
    for good in [&[3][..], &[0, 3], &[1, 0, 1], &[1, 255, 255, 255, 255]] {
        assert_eq!(exponent(good), None, "{good:?}");
    }
    for bad in [&[][..], &[0], &[1], &[2], &[4], &[1, 0, 0], &[2, 0, 0, 0, 1], &[1; 6], &[1; 256]] {
        assert_eq!(exponent(bad), Some(KeyRefused::RsaNumbers), "{bad:?}");
    }
}

#[test]
fn pem_texts_are_public_keys_only() {
    for name in ASYMMETRIC {
        let key = Key::from_pem(Signer::new(name).pem().as_bytes()).unwrap();
        assert!(key.verifier(name.parse().unwrap()).is_some(), "{name}");
        assert!(key.verifier(Algorithm::HS256).is_none(), "{name}");
    }
    let refused = |text: &str| Key::from_pem(text.as_bytes()).unwrap_err();
    assert_eq!(refused(RSA_PRIVATE), PemRefused::Private);
    assert_eq!(refused("-----BEGIN CERTIFICATE-----\nMAA=\n"), PemRefused::Certificate);
    assert_eq!(refused(&format!("{RSA_PUBLIC}{RSA_PUBLIC}")), PemRefused::Several);
    assert_eq!(refused(""), PemRefused::Unknown);
    assert_eq!(refused("no pem at all"), PemRefused::Unknown);
}

#[test]
fn pkcs1_is_read_to_the_byte() {
    assert_eq!(pkcs1(&[0x30, 6, 2, 1, 5, 2, 1, 3]), Some((&[5][..], &[3][..])));
    assert_eq!(pkcs1(&[0x30, 0x81, 6, 2, 1, 5, 2, 1, 3]), Some((&[5][..], &[3][..])));
    // Trailing bytes outside and inside, a third member, a length that lies, a length of
    // lengths that is too long, nothing.
    assert_eq!(pkcs1(&[0x30, 6, 2, 1, 5, 2, 1, 3, 0]), None);
    assert_eq!(pkcs1(&[0x30, 9, 2, 1, 5, 2, 1, 3, 2, 1, 0]), None);
    assert_eq!(pkcs1(&[0x30, 7, 2, 1, 5, 2, 1, 3]), None);
    assert_eq!(pkcs1(&[0x30, 0x85, 0, 0, 0, 0, 6, 2, 1, 5, 2, 1, 3]), None);
    assert_eq!(pkcs1(&[0x30, 0x80]), None);
    assert_eq!(pkcs1(&[]), None);
    // The private key's PKCS#1 body inside PKCS#8 is no public key.
    let private = DecodingKey::from_rsa_der(&der(RSA_PRIVATE));
    assert_eq!(private.family(), AlgorithmFamily::Rsa);
    assert_eq!(
        SignatureVerifier::new(Algorithm::RS256, &private).unwrap_err(),
        KeyRefused::Malformed
    );
}

#[test]
fn nothing_of_a_key_is_shown() {
    let key = Key::from_secret(SECRET.as_bytes()).unwrap();
    let shown = format!("{key:?}");
    assert!(shown.contains("Secret(..)") && !shown.contains("tests"), "{shown}");
}
