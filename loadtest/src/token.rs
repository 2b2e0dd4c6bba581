//! A key pair and the tokens that callers bear.
//!
//! The key is made anew for each run by the `openssl` program, because the signature library
//! does not make RSA keys. Nothing secret is in the repository and nothing outlives the run.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::json;

use crate::{Context, Error, Result};

/// The `iss` of every token.
pub const ISSUER: &str = "https://id.example.com";
/// The `aud` of every token.
pub const AUDIENCE: &str = "api.example.com";
/// The tenant of every caller.
pub const TENANT: &str = "acme";
/// The scope that the measured route asks for.
pub const SCOPE: &str = "orders:read";

/// How long a token is good for: longer than any run.
const LIFETIME: Duration = Duration::from_hours(6);

/// An identity provider, as far as tokens go.
pub struct Issuer {
    key: RsaKeyPair,
    public_pem: String,
}

impl Issuer {
    /// Makes an RSA key of 2048 bits.
    pub fn generate() -> Result<Self> {
        let bits = "rsa_keygen_bits:2048";
        let make = ["genpkey", "-algorithm", "RSA", "-pkeyopt", bits, "-outform", "DER"];
        // Some versions write PKCS #1 in DER form, where ring wants PKCS #8.
        let convert = ["pkcs8", "-topk8", "-nocrypt", "-inform", "DER", "-outform", "DER"];
        let key = openssl(&convert, &openssl(&make, &[])?)?;
        let public = openssl(&["pkey", "-inform", "DER", "-pubout"], &key)?;
        let public_pem = String::from_utf8(public).context("the public key")?;
        let key = RsaKeyPair::from_pkcs8(&key).context("the private key")?;
        Ok(Self { key, public_pem })
    }

    /// The public key.
    #[must_use]
    pub fn public_pem(&self) -> &str {
        &self.public_pem
    }

    /// The public key as a JSON Web Key Set.
    #[must_use]
    pub fn jwks(&self) -> String {
        let parts = PublicKeyComponents::<Vec<u8>>::from(self.key.public_key());
        let (n, e) = (URL_SAFE_NO_PAD.encode(&parts.n), URL_SAFE_NO_PAD.encode(&parts.e));
        json!({"keys": [{"kty": "RSA", "use": "sig", "alg": "RS256", "n": n, "e": e}]}).to_string()
    }

    /// An RS256 token for a user, with the claims that gateways usually see.
    pub fn token(&self, user: usize) -> Result<String> {
        self.token_with(user, &json!({}))
    }

    /// The same with some claims instead of the usual ones.
    pub fn token_with(&self, user: usize, instead: &serde_json::Value) -> Result<String> {
        let now = unix_seconds();
        let mut claims = json!({
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": format!("user-{user:05}"),
            "tenant_id": TENANT,
            "scope": format!("{SCOPE} catalog:read profile"),
            "roles": ["customer", "beta"],
            "client_id": "web-shop",
            "plan": "gold",
            "iat": now,
            "exp": now + LIFETIME.as_secs(),
            "jti": format!("bench-{user:05}"),
        });
        for (name, value) in instead.as_object().into_iter().flatten() {
            if let Some(claims) = claims.as_object_mut() {
                claims.insert(name.clone(), value.clone());
            }
        }
        let header = json!({"alg": "RS256", "typ": "JWT"});
        let encode = |part: &serde_json::Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", encode(&header), encode(&claims));
        let mut signature = vec![0; self.key.public().modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .context("sign a token")?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// Runs `openssl` with its input, and returns its output.
fn openssl(arguments: &[&str], input: &[u8]) -> Result<Vec<u8>> {
    let mut child = Command::new("openssl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("openssl, which makes the key of the run (Debian: apt-get install openssl)")?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input).context("openssl")?;
    }
    let output = child.wait_with_output().context("openssl")?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(Error::new(format!("openssl {}: {words}", arguments.join(" "))))
}

#[expect(clippy::disallowed_methods, reason = "tokens need the time, and nothing tests with it")]
fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

    use super::*;

    #[test]
    fn a_token_is_signed_with_the_key_that_is_published() {
        let issuer = Issuer::generate().unwrap();
        assert!(issuer.public_pem().starts_with("-----BEGIN PUBLIC KEY-----\n"));
        let token = issuer.token(7).unwrap();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let public = UnparsedPublicKey::new(
            &RSA_PKCS1_2048_8192_SHA256,
            issuer.key.public().as_ref().to_vec(),
        );
        public.verify(signed.as_bytes(), &signature).unwrap();
        let claims = signed.split_once('.').unwrap().1;
        let claims: serde_json::Value =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
        assert_eq!(claims["sub"], "user-00007");
        assert_ne!(token, issuer.token(8).unwrap());
    }
}
