//! The key pair of a provider for development: its private half signs tokens on the command
//! line, its public half verifies them here.
//!
//! Whoever can read the file can be anybody, so it is refused where others can reach the
//! gateway, and spoken of where they cannot.

use ring::signature::{Ed25519KeyPair, KeyPair};

use crate::model::{Config, Problem, Problems, pem};

/// An Ed25519 key pair (RFC 8032).
pub struct DevelopmentKey(Ed25519KeyPair);

/// Shows nothing of the key.
impl std::fmt::Debug for DevelopmentKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DevelopmentKey(..)")
    }
}

impl DevelopmentKey {
    /// Reads the first private key of a PEM text, in PKCS #8 with or without the public half
    /// (RFC 5958, RFC 8410), as `openssl genpkey -algorithm ed25519` writes it.
    ///
    /// # Errors
    /// Why it is not used, without anything of the text.
    pub fn read(pem: &[u8]) -> Result<Self, String> {
        let der = pem::pkcs8(pem).ok_or("there is no private key in PKCS #8 PEM")?;
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der())
            .map(Self)
            .map_err(|_| "the private key is not an Ed25519 one".to_owned())
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> [u8; 32] {
        array(self.0.public_key().as_ref())
    }

    /// The signature of a message.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        array(self.0.sign(message).as_ref())
    }
}

/// Copies what has this length by its definition.
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    debug_assert_eq!(bytes.len(), N);
    let mut array = [0; N];
    array.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    array
}

/// Refuses development keys where a listener can be reached from other machines, and warns
/// where none can.
pub(in crate::auth) fn check(config: &Config, problems: &mut Problems) {
    let is_reachable = |address: &str| {
        // An address that cannot be read is reported where listeners are compiled.
        let address = address.parse::<std::net::SocketAddr>();
        address.is_ok_and(|address| !address.ip().is_loopback())
    };
    let exposed = config.listeners.iter().find(|listener| is_reachable(&listener.address));
    for (name, provider) in &config.identity_providers {
        if provider.development_key_file.is_none() {
            continue;
        }
        let path = format!("identityProviders.{name}.developmentKeyFile");
        let problem = match exposed {
            Some(listener) => {
                let message = format!(
                    "the listener `{}` at {} can be reached from other machines, and whoever has \
                     the development key can be anybody",
                    listener.name, listener.address
                );
                let help = "use an identity provider, or let all listeners be at 127.0.0.1";
                Problem::error("provider.development", path, message).help(help)
            }
            None => Problem::warning(
                "provider.development",
                path,
                "this provider is for development: whoever can read the file can be anybody",
            ),
        };
        problems.push(problem);
    }
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;
    use ring::signature::{ED25519, UnparsedPublicKey};

    use serde_json::json;

    use super::*;
    use crate::auth::keyset::keyring::KeyRing;
    use crate::auth::testing::{
        Gate, RSA_PRIVATE, RSA_PUBLIC, base64url, claims, compile, fetched_provider, main_provider,
    };
    use crate::model::Resolved;

    /// What OpenSSL writes: version 1, without the public half. The first key of RFC 8032,
    /// section 7.1.
    const OPENSSL: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n\
        -----END PRIVATE KEY-----\n";

    #[test]
    fn the_key_of_openssl_is_read_and_signs_as_rfc_8032_says() {
        let key = DevelopmentKey::read(OPENSSL.as_bytes()).unwrap();
        let public = [
            0xd7, 0x5a, 0x98, 0x01, 0x82, 0xb1, 0x0a, 0xb7, 0xd5, 0x4b, 0xfe, 0xd3, 0xc9, 0x64,
            0x07, 0x3a, 0x0e, 0xe1, 0x72, 0xf3, 0xda, 0xa6, 0x23, 0x25, 0xaf, 0x02, 0x1a, 0x68,
            0xf7, 0x07, 0x51, 0x1a,
        ];
        assert_eq!(key.public_key(), public);
        let signature = key.sign(b"");
        assert_eq!(signature[..4], [0xe5, 0x56, 0x43, 0x00]);
        UnparsedPublicKey::new(&ED25519, public).verify(b"", &signature).unwrap();
        assert!(!format!("{key:?}").contains(&base64url(public)));
    }

    #[test]
    fn a_key_with_its_public_half_is_read() {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pem = crate::auth::testing::pem(pkcs8.as_ref()).replace("PUBLIC", "PRIVATE");
        assert!(DevelopmentKey::read(pem.as_bytes()).is_ok());
    }

    #[test]
    fn what_it_signs_is_verified_by_its_provider() {
        let mut resolved = Resolved::default();
        resolved.files.insert("/dev.pem".into(), OPENSSL.into());
        let rest = "    algorithms: [EdDSA]\n    developmentKeyFile: /dev.pem\n";
        let (providers, _) = compile(&main_provider(rest), &resolved);
        let pair = DevelopmentKey::read(OPENSSL.as_bytes()).unwrap();
        let gate =
            Gate { providers, ..Gate::new(&fetched_provider("[EdDSA]"), KeyRing::default()) };
        let header = base64url(r#"{"alg":"EdDSA","kid":"any"}"#);
        let signed = format!("{header}.{}", base64url(claims(&json!({})).to_string()));
        let token = format!("{signed}.{}", base64url(pair.sign(signed.as_bytes())));
        assert!(gate.show(&token).is_ok());
        let forged = format!("{signed}.{}", base64url([7; 64]));
        assert!(gate.show(&forged).is_err());
    }

    #[test]
    fn what_is_no_such_key_is_refused() {
        for (pem, why) in [
            ("", "there is no private key in PKCS #8 PEM"),
            ("-----BEGIN PRIVATE KEY-----\n", "there is no private key in PKCS #8 PEM"),
            (RSA_PUBLIC, "there is no private key in PKCS #8 PEM"),
            (RSA_PRIVATE, "the private key is not an Ed25519 one"),
            (&OPENSSL.replace("MC4CAQ", "MC4CAg"), "the private key is not an Ed25519 one"),
        ] {
            assert_eq!(DevelopmentKey::read(pem.as_bytes()).unwrap_err(), why, "{pem}");
        }
    }
}
