//! `signers` and `messageSignatures`, compiled.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use http::HeaderValue;
use http::header::WWW_AUTHENTICATE;
use jsonwebtoken::Algorithm;

use super::base::Component;
use super::refusal::ACCEPT_SIGNATURE;
use crate::auth::api_key::secret_value;
use crate::auth::headers::IdentityHeaders;
use crate::auth::jwt::claims::Tenants;
use crate::auth::jwt::key::Key;
use crate::auth::jwt::signature::SignatureVerifier;
use crate::edge::{Identity, IdentityFacts, SIGNERS};
use crate::fault::{Fault, Reject};
use crate::model::{
    Config, MessageSignatures, Problem, Problems, Resolved, Secret, SignatureAlgorithm, Signer,
};

/// A party that signs.
#[derive(Debug)]
pub(in crate::auth) struct Party {
    /// The `alg` of its signatures.
    pub(super) algorithm: &'static str,
    pub(super) verifier: SignatureVerifier,
    pub(super) identity: Arc<Identity>,
}

/// What signatures must be like.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) components: Vec<Box<str>>,
    pub(super) max_age: i64,
    pub(super) tolerance: i64,
    pub(super) require_nonce: bool,
}

/// All parties that sign, and the rules for them.
#[derive(Debug)]
pub(in crate::auth) struct Signers {
    parties: HashMap<Box<str>, Party>,
    pub(super) rules: Rules,
    is_configured: bool,
    missing: Reject,
}

impl Default for Signers {
    fn default() -> Self {
        Self::without_parties(&MessageSignatures::default())
    }
}

impl Signers {
    /// Compiles `signers` and `messageSignatures`. A party whose key could not be had is left
    /// out: whoever resolves references has reported it.
    pub(in crate::auth) fn compile(
        config: &Config,
        tenants: &Tenants,
        headers: &IdentityHeaders,
        resolved: &Resolved,
        problems: &mut Problems,
    ) -> Self {
        let mut signers = Self::without_parties(&config.message_signatures);
        check_rules(&config.message_signatures, problems);
        signers.is_configured = !config.signers.is_empty();
        if signers.is_configured {
            warn_of_gaps(&config.message_signatures, problems);
        }
        if config.identity_providers.contains_key(SIGNERS) {
            let message = "`signers` is the name under which parties that sign are reported";
            let path = format!("identityProviders.{SIGNERS}");
            problems.push(Problem::error("provider.name", path, message));
        }
        let mut ids = HashSet::new();
        for (name, signer) in &config.signers {
            let path = format!("signers.{name}");
            check_id(signer, &path, &mut ids, problems);
            let key = key(signer, &path, resolved, problems);
            let identity = match identity(name, signer, tenants, headers) {
                Ok(identity) => Arc::new(identity),
                Err(message) => {
                    problems.push(Problem::error("signer.unsendable", path, message));
                    continue;
                }
            };
            if let Some(verifier) = key {
                let party = Party { algorithm: word(signer.algorithm), verifier, identity };
                signers.parties.insert(signer.key_id.as_str().into(), party);
            }
        }
        signers
    }

    fn without_parties(written: &MessageSignatures) -> Self {
        Self {
            parties: HashMap::new(),
            rules: Rules {
                components: written.components.iter().map(|name| name.as_str().into()).collect(),
                max_age: seconds(written.max_age.get().as_secs()),
                tolerance: seconds(written.clock_tolerance_seconds),
                require_nonce: written.require_nonce,
            },
            is_configured: false,
            missing: missing(&written.components),
        }
    }

    /// Whether the configuration has any party that signs.
    pub(in crate::auth) const fn is_configured(&self) -> bool {
        self.is_configured
    }

    /// The party of a `keyid`.
    pub(super) fn get(&self, key_id: &str) -> Option<&Party> {
        self.parties.get(key_id)
    }

    /// The refusal of a request without credentials, where only signatures will do.
    pub(in crate::auth) fn missing(&self) -> Reject {
        self.missing.clone()
    }
}

/// Longest `maxAge`, in seconds: nonces are remembered as long.
const MAX_AGE_MAX: u64 = 24 * 60 * 60;
/// Largest difference of clocks that is forgiven, in seconds.
const TOLERANCE_MAX: u64 = 60 * 60;
/// Longest `keyId`, in bytes.
const KEY_ID_BYTES_MAX: usize = 256;
/// Shorter secrets can be found from any signature.
const SECRET_BYTES_MIN: usize = 32;

fn seconds(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX / 4).min(i64::MAX / 4)
}

const fn word(algorithm: SignatureAlgorithm) -> &'static str {
    match algorithm {
        SignatureAlgorithm::HmacSha256 => "hmac-sha256",
        SignatureAlgorithm::Ed25519 => "ed25519",
        SignatureAlgorithm::EcdsaP256Sha256 => "ecdsa-p256-sha256",
    }
}

/// 401 that names what a signature must cover, in the words of RFC 9421, 5.1. The scheme is not
/// registered; a 401 must name one (RFC 9110, 15.5.2).
fn missing(components: &[String]) -> Reject {
    let challenge = HeaderValue::from_static("Signature realm=\"tidegate\"");
    let reject = Reject::new(Fault::CredentialsMissing).with_header(WWW_AUTHENTICATE, challenge);
    // Names that are known need no escapes; others refuse the configuration.
    let names: Vec<String> = components.iter().map(|name| format!("\"{name}\"")).collect();
    let needed = HeaderValue::try_from(format!("sig1=({});created", names.join(" ")));
    match needed {
        Ok(needed) => reject.with_header(ACCEPT_SIGNATURE, needed),
        Err(_) => reject,
    }
}

fn check_rules(written: &MessageSignatures, problems: &mut Problems) {
    let mut error = |code, key: String, message: &str, help: &str| {
        let path = format!("messageSignatures.{key}");
        problems.push(Problem::error(code, path, message).help(help));
    };
    let mut known = HashSet::new();
    for (at, name) in written.components.iter().enumerate() {
        let key = format!("components[{at}]");
        if Component::of(name).is_none() {
            let help = "use @method, @target-uri, @authority, @scheme, @request-target, @path, \
                        @query, or the name of a header in lower case";
            error("signature.component", key, "no signature here can cover this", help);
        } else if !known.insert(name) {
            error("signature.component", key, "it stands here twice", "remove one");
        }
    }
    if !(1..=MAX_AGE_MAX).contains(&written.max_age.get().as_secs()) {
        let message = "signatures are good for 1 second to 1 day";
        let help = "5m is usual: time for a slow client, and little time to repeat its requests";
        error("signature.max_age", "maxAge".to_owned(), message, help);
    }
    if written.clock_tolerance_seconds > TOLERANCE_MAX {
        let message = "at most 3600 seconds are forgiven";
        let key = "clockToleranceSeconds".to_owned();
        error("signature.tolerance", key, message, "set the clocks; 30 is usual");
    }
}

/// Says what others could change in a request that is signed by these rules.
fn warn_of_gaps(written: &MessageSignatures, problems: &mut Problems) {
    let covers = |names: &[&str]| {
        written.components.iter().any(|component| names.contains(&component.as_str()))
    };
    let whole = covers(&["@target-uri"]);
    let target = whole || covers(&["@request-target"]);
    let gaps: Vec<&str> = [
        (covers(&["@method"]), "the method"),
        (whole || covers(&["@authority", "host"]), "the host"),
        (target || covers(&["@path"]), "the path"),
        (target || covers(&["@query"]), "the query"),
    ]
    .into_iter()
    .filter_map(|(is_covered, what)| (!is_covered).then_some(what))
    .collect();
    if !gaps.is_empty() {
        let message = format!(
            "signatures need not cover {}: whoever sees a signed request can send it with another",
            gaps.join(", ")
        );
        let help = "without `components` all of them are covered";
        let path = "messageSignatures.components";
        problems.push(Problem::warning("signature.gaps", path, message).help(help));
    }
}

fn check_id<'a>(
    signer: &'a Signer,
    path: &str,
    ids: &mut HashSet<&'a str>,
    problems: &mut Problems,
) {
    let path = format!("{path}.keyId");
    let id = signer.key_id.as_str();
    let is_string = id.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if id.is_empty() || id.len() > KEY_ID_BYTES_MAX || !is_string {
        let message = "a key's id has 1 to 256 characters of ASCII";
        problems.push(Problem::error("signer.key_id", path, message));
    } else if !ids.insert(id) {
        let message = format!("another party signs with the key `{id}`");
        problems.push(Problem::error("signer.key_id", path, message));
    }
}

/// The verifier for the one key of a party.
fn key(
    signer: &Signer,
    path: &str,
    resolved: &Resolved,
    problems: &mut Problems,
) -> Option<SignatureVerifier> {
    let sources = (&signer.secret, &signer.public_key_pem, &signer.public_key_file);
    let is_hmac = signer.algorithm == SignatureAlgorithm::HmacSha256;
    let (key, pem) = match sources {
        (Some(secret), None, None) if is_hmac => return shared(secret, path, resolved, problems),
        (None, Some(pem), None) if !is_hmac => ("publicKeyPem", pem.as_bytes()),
        // A file that could not be read has been reported where references are resolved.
        (None, None, Some(file)) if !is_hmac => ("publicKeyFile", resolved.file(file)?),
        (Some(_), None, None) | (None, Some(_), None) | (None, None, Some(_)) => {
            let message = format!(
                "{} needs a {}",
                word(signer.algorithm),
                if is_hmac { "`secret`, and a public key is none" } else { "public key" }
            );
            problems.push(Problem::error("signer.algorithm", format!("{path}.algorithm"), message));
            return None;
        }
        _ => {
            let message = "a party that signs has exactly one key";
            let help = "give exactly one of `secret`, `publicKeyPem`, `publicKeyFile`";
            problems.push(Problem::error("signer.key", path, message).help(help));
            return None;
        }
    };
    let wanted = if signer.algorithm == SignatureAlgorithm::Ed25519 {
        Algorithm::EdDSA
    } else {
        Algorithm::ES256
    };
    let message = match Key::from_pem(pem) {
        Ok(key) => match key.verifier(wanted) {
            Some(verifier) => return Some(verifier.clone()),
            None => format!("the key is not one for {}", word(signer.algorithm)),
        },
        Err(refused) => format!("the key is not used: {refused}"),
    };
    problems.push(Problem::error("signer.key", format!("{path}.{key}"), message));
    None
}

fn shared(
    secret: &Secret,
    path: &str,
    resolved: &Resolved,
    problems: &mut Problems,
) -> Option<SignatureVerifier> {
    let path = format!("{path}.secret");
    let value = secret_value(secret, &path, resolved, problems)?;
    if value.len() < SECRET_BYTES_MIN {
        let message = format!(
            "the secret has {} bytes; with fewer than 32 it can be found from any signature",
            value.len()
        );
        let help = "make one with `openssl rand -hex 32`";
        problems.push(Problem::error("secret.short", path, message).help(help));
        return None;
    }
    Key::from_secret(value.as_bytes()).ok()?.verifier(Algorithm::HS256).cloned()
}

fn identity(
    name: &str,
    signer: &Signer,
    tenants: &Tenants,
    headers: &IdentityHeaders,
) -> Result<Identity, &'static str> {
    let subject: Arc<str> = name.into();
    let tenant = signer.tenant_id.as_deref().filter(|tenant| !tenant.is_empty());
    let list = |texts: &[String]| texts.iter().map(|text| text.as_str().into()).collect();
    let mut facts = IdentityFacts {
        provider: SIGNERS.into(),
        subject: Arc::clone(&subject),
        client_id: Some(subject),
        tenant_id: tenant.map(Arc::from),
        tenant_status: tenant.and_then(|tenant| tenants.status(tenant)),
        scopes: list(&signer.scopes),
        roles: list(&signer.roles),
        products: list(&signer.products),
        plan: signer.plan.as_deref().filter(|plan| !plan.is_empty()).map(Arc::from),
        ..IdentityFacts::default()
    };
    facts.headers = headers
        .render(&facts)
        .map_err(|_| "a value of this party cannot be sent as an identity header")?;
    Ok(Identity::prove(facts))
}
