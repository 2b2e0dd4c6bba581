//! Keys of both sides, and tokens signed with them.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256,
    RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding, RsaKeyPair, RsaPublicKeyComponents,
};
use serde_json::{Value, json};

/// The RSA key of the issuers, as PEM.
pub(crate) const RSA_PRIVATE: &str =
    include_str!("../../src/auth/testdata/rsa2048-test-only.private.pem");
pub(crate) const RSA_PUBLIC: &str =
    include_str!("../../src/auth/testdata/rsa2048-test-only.public.pem");
/// The issuers: one with a key set, one with a PEM, one with a secret.
pub(crate) const ISSUER: &str = "https://issuer.test/";
pub(crate) const PEM_ISSUER: &str = "https://pem.test/";
pub(crate) const SECRET_ISSUER: &str = "https://secret.test/";
pub(crate) const SECRET: &str = "an HMAC secret of the hostile table, long enough for SHA-512 too";

/// Everything that cases are made from.
pub(crate) struct World {
    /// The time in Unix seconds that tokens are made for.
    pub(crate) now: i64,
    /// A URL of the attacker's. Nobody may ever ask it.
    pub(crate) lure: String,
    rsa: RsaKeyPair,
    p256: EcdsaKeyPair,
    ed25519: Ed25519KeyPair,
    /// Two keys that the issuer published under one id.
    twins: [EcdsaKeyPair; 2],
    /// Keys of the attacker's own.
    pub(super) evil: EcdsaKeyPair,
    random: SystemRandom,
    /// The P-256 key again, for signatures in ASN.1.
    p256_asn1: EcdsaKeyPair,
}

pub(super) fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The bytes between the lines of a PEM text.
pub(super) fn der(pem: &str) -> Vec<u8> {
    let body = pem.lines().skip_while(|line| !line.starts_with("-----BEGIN")).skip(1);
    let body: String = body.take_while(|line| !line.starts_with("-----END")).collect();
    STANDARD.decode(body).unwrap()
}

impl World {
    /// The public key of [`PEM_ISSUER`].
    pub(crate) const PUBLIC_PEM: &str = RSA_PUBLIC;

    /// New keys, and tokens for this moment.
    pub(crate) fn new(now: i64, lure: String) -> Self {
        let random = SystemRandom::new();
        let kind = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let document = || EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap();
        let pair = || EcdsaKeyPair::from_pkcs8(kind, document().as_ref(), &random).unwrap();
        let p256 = document();
        let asn1 = &ECDSA_P256_SHA256_ASN1_SIGNING;
        let ed25519 = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        Self {
            now,
            lure,
            rsa: RsaKeyPair::from_pkcs8(&der(RSA_PRIVATE)).unwrap(),
            p256: EcdsaKeyPair::from_pkcs8(kind, p256.as_ref(), &random).unwrap(),
            p256_asn1: EcdsaKeyPair::from_pkcs8(asn1, p256.as_ref(), &random).unwrap(),
            ed25519: Ed25519KeyPair::from_pkcs8(ed25519.as_ref()).unwrap(),
            twins: [pair(), pair()],
            evil: pair(),
            random,
        }
    }

    /// The key set of [`ISSUER`]: three good keys, one for encryption, two under one name.
    pub(crate) fn jwks(&self) -> String {
        let mut encryption = self.rsa_jwk("enc");
        encryption["use"] = json!("enc");
        let keys = [
            self.rsa_jwk("rsa"),
            curve_jwk(&self.p256, "ec"),
            json!({"kty": "OKP", "crv": "Ed25519", "kid": "ed",
                "x": base64url(self.ed25519.public_key())}),
            encryption,
            curve_jwk(&self.twins[0], "twin"),
            curve_jwk(&self.twins[1], "twin"),
        ];
        json!({ "keys": keys }).to_string()
    }

    /// `identityProviders` with the three issuers; the arguments are names of files.
    pub(crate) fn providers(jwks: &str, pem: &str) -> String {
        format!(
            "identityProviders:\n  \
             main: {{issuer: \"{ISSUER}\", audience: orders, algorithms: [RS256, ES256, EdDSA], \
             jwksFile: \"{jwks}\"}}\n  \
             pem: {{issuer: \"{PEM_ISSUER}\", audience: orders, algorithms: [RS256], \
             publicKeyFile: \"{pem}\"}}\n  \
             secret: {{issuer: \"{SECRET_ISSUER}\", audience: orders, algorithms: [HS256], \
             secret: \"{SECRET}\"}}\n"
        )
    }

    fn rsa_jwk(&self, kid: &str) -> Value {
        let parts = self.rsa_parts();
        json!({"kty": "RSA", "kid": kid, "n": base64url(parts.n), "e": base64url(parts.e)})
    }

    /// Modulus and exponent of the RSA key.
    pub(super) fn rsa_parts(&self) -> RsaPublicKeyComponents<Vec<u8>> {
        RsaPublicKeyComponents::from(self.rsa.public())
    }

    /// The RSA public key in PKCS #1.
    pub(super) fn rsa_pkcs1(&self) -> Vec<u8> {
        self.rsa.public_key().as_ref().to_vec()
    }

    /// Tokens that are accepted: the table would prove nothing if none were.
    pub(crate) fn good(&self) -> Vec<(String, Vec<u8>)> {
        let bearer = |token: String| format!("Bearer {token}").into_bytes();
        let mut good: Vec<(String, Vec<u8>)> = ["RS256", "ES256", "EdDSA"]
            .iter()
            .map(|name| ((*name).to_owned(), bearer(self.sound(name, &json!({})))))
            .collect();
        let lower = format!("bearer {}", self.sound("ES256", &json!({})));
        good.push(("lower-case scheme".into(), lower.into_bytes()));
        let of = |issuer: &str, algorithm: &str| {
            let header = json!({"alg": algorithm, "typ": "JWT"}).to_string();
            self.signed(algorithm, header, self.claims(&json!({"iss": issuer})).to_string())
        };
        good.push(("PEM".into(), bearer(of(PEM_ISSUER, "RS256"))));
        good.push(("secret".into(), bearer(of(SECRET_ISSUER, "HS256"))));
        let whole = json!({"client_id": "app", "jti": "1"});
        let access = self.token(&json!({"typ": "at+jwt"}), &whole);
        good.push(("access token".into(), bearer(access)));
        good
    }

    /// Sound claims but for `change`, whose nulls are members left out.
    pub(super) fn claims(&self, change: &Value) -> Value {
        let mut claims = json!({
            "iss": ISSUER, "aud": "orders", "sub": "mallory",
            "exp": self.now + 300, "iat": self.now - 10,
        });
        for (name, value) in change.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        claims
    }

    /// A header for an algorithm of [`ISSUER`], with its key's name, changed likewise.
    pub(super) fn header(algorithm: &str, change: &Value) -> Value {
        let kid = match algorithm {
            "ES256" => "ec",
            "EdDSA" => "ed",
            _ => "rsa",
        };
        let mut header = json!({"alg": algorithm, "typ": "JWT", "kid": kid});
        for (name, value) in change.as_object().unwrap() {
            header[name] = value.clone();
        }
        header.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        header
    }

    /// A token that is sound but for its claims.
    pub(super) fn sound(&self, algorithm: &str, claims: &Value) -> String {
        let header = Self::header(algorithm, &json!({}));
        self.signed(algorithm, header.to_string(), self.claims(claims).to_string())
    }

    /// A token of ES256 that is sound but for these changes.
    pub(super) fn token(&self, header: &Value, claims: &Value) -> String {
        let header = Self::header("ES256", header);
        self.signed("ES256", header.to_string(), self.claims(claims).to_string())
    }

    /// A token of these very bytes, with a good signature of an algorithm.
    pub(super) fn signed(
        &self,
        algorithm: &str,
        header: impl AsRef<[u8]>,
        payload: impl AsRef<[u8]>,
    ) -> String {
        let message = format!("{}.{}", base64url(header), base64url(payload));
        let signature = self.sign(algorithm, message.as_bytes());
        format!("{message}.{}", base64url(signature))
    }

    /// A signature by the issuer's key for an algorithm.
    pub(super) fn sign(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let rsa = |padding: &'static dyn RsaEncoding| {
            let mut signature = vec![0; self.rsa.public().modulus_len()];
            self.rsa.sign(padding, &self.random, message, &mut signature).unwrap();
            signature
        };
        match algorithm {
            "RS256" => rsa(&RSA_PKCS1_SHA256),
            "RS384" => rsa(&RSA_PKCS1_SHA384),
            "RS512" => rsa(&RSA_PKCS1_SHA512),
            "PS256" => rsa(&RSA_PSS_SHA256),
            "PS384" => rsa(&RSA_PSS_SHA384),
            "PS512" => rsa(&RSA_PSS_SHA512),
            "EdDSA" => self.ed25519.sign(message).as_ref().to_vec(),
            "twin" => self.twins[0].sign(&self.random, message).unwrap().as_ref().to_vec(),
            "evil" => self.evil.sign(&self.random, message).unwrap().as_ref().to_vec(),
            "ASN.1" => self.p256_asn1.sign(&self.random, message).unwrap().as_ref().to_vec(),
            "HS256" => hmac_of(hmac::HMAC_SHA256, SECRET.as_bytes(), message),
            _ => self.p256.sign(&self.random, message).unwrap().as_ref().to_vec(),
        }
    }
}

/// An HMAC.
pub(super) fn hmac_of(algorithm: hmac::Algorithm, secret: &[u8], message: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(algorithm, secret), message).as_ref().to_vec()
}

/// The public half of a P-256 key.
pub(super) fn curve_jwk(pair: &EcdsaKeyPair, kid: &str) -> Value {
    // An uncompressed point: 4, then both coordinates of 32 bytes.
    let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
    json!({"kty": "EC", "crv": "P-256", "kid": kid, "x": base64url(x), "y": base64url(y)})
}
