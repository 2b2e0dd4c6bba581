//! API keys of the configuration: what each proves about its holder (R101, R103).
//!
//! Keys are kept and looked up only as an HMAC under a random key of this process (T27). A
//! stolen memory image or log holds nothing that works elsewhere, and because nobody outside
//! can aim at a digest, the time of a look-up says nothing about how close a guess was.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use ring::hmac;
use ring::rand::SystemRandom;

use super::{KeyHash, PROVIDER};
use crate::auth::database::key_text::hash;
use crate::auth::headers::IdentityHeaders;
use crate::auth::jwt::claims::Tenants;
use crate::edge::{Claims, Identity, IdentityFacts};
use crate::model::{ApiKey, Problem, Problems, Resolved, Secret};

/// Keys shorter than this can be guessed at the rate that a gateway answers.
const KEY_BYTES_MIN: usize = 16;

/// All active API keys of the configuration.
#[derive(Default)]
pub(in crate::auth) struct Listed {
    /// None when there is nothing to look up.
    secret: Option<hmac::Key>,
    by_digest: HashMap<KeyHash, Arc<Identity>>,
}

/// Says how many keys there are and nothing about them.
impl std::fmt::Debug for Listed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Listed({})", self.by_digest.len())
    }
}

impl Listed {
    /// Compiles `apiKeys`. A key whose secret could not be had is left out: whoever resolves
    /// references has reported it.
    pub(in crate::auth) fn compile(
        keys: &[ApiKey],
        tenants: &Tenants,
        headers: &IdentityHeaders,
        resolved: &Resolved,
        problems: &mut Problems,
    ) -> Self {
        if keys.is_empty() {
            return Self::default();
        }
        let Ok(secret) = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()) else {
            let message = "the system has no random numbers to protect the keys with";
            problems.push(Problem::error("api_key.entropy", "apiKeys", message));
            return Self::default();
        };
        let mut compiled = Self { secret: None, by_digest: HashMap::with_capacity(keys.len()) };
        let mut ids = HashSet::new();
        let mut digests = HashSet::new();
        for (index, key) in keys.iter().enumerate() {
            let path = format!("apiKeys[{index}]");
            check_id(key, &path, &mut ids, problems);
            let Some(value) = value_of(key, &path, resolved, problems) else { continue };
            let digest = hash(&secret, value);
            if !digests.insert(digest) {
                let message = "another entry has the same key; each holder needs a key of its own";
                problems.push(Problem::error("api_key.repeated", format!("{path}.key"), message));
                continue;
            }
            match identity(key, tenants, headers) {
                Ok(identity) if key.active => {
                    compiled.by_digest.insert(digest, Arc::new(identity));
                }
                Ok(_) => {}
                Err(message) => problems.push(Problem::error("api_key.unsendable", path, message)),
            }
        }
        compiled.secret = Some(secret);
        compiled
    }

    /// The holder of a key; none where it is unknown or switched off.
    pub(super) fn find(&self, key: &[u8]) -> Option<Arc<Identity>> {
        let secret = self.secret.as_ref()?;
        self.by_digest.get(&hash(secret, key)).map(Arc::clone)
    }

    /// What is kept of the keys.
    #[cfg(test)]
    pub(super) fn digests(&self) -> Vec<KeyHash> {
        self.by_digest.keys().copied().collect()
    }
}

fn check_id<'a>(key: &'a ApiKey, path: &str, ids: &mut HashSet<&'a str>, problems: &mut Problems) {
    let path = format!("{path}.id");
    if key.id.is_empty() {
        let message = "an API key needs an id: its holder's name";
        problems.push(Problem::error("api_key.id", path, message));
    } else if !ids.insert(&key.id) {
        let message = format!("another API key has the id `{}`", key.id);
        problems.push(Problem::error("api_key.id", path, message));
    }
}

fn value_of<'a>(
    key: &'a ApiKey,
    path: &str,
    resolved: &'a Resolved,
    problems: &mut Problems,
) -> Option<&'a str> {
    let path = format!("{path}.key");
    let value = secret_value(&key.key, &path, resolved, problems)?;
    if value.is_empty() {
        problems.push(Problem::error("secret.short", path, "the key is empty"));
        return None;
    }
    if value.len() < KEY_BYTES_MIN {
        let message = format!("the key has {} bytes and could be guessed", value.len());
        let help = "use at least 16 random bytes, for example `openssl rand -hex 16`";
        problems.push(Problem::warning("secret.short", path, message).help(help));
    }
    Some(value)
}

/// The value of a secret, with a warning where it stands in the configuration itself.
pub(in crate::auth) fn secret_value<'a>(
    secret: &'a Secret,
    path: &str,
    resolved: &'a Resolved,
    problems: &mut Problems,
) -> Option<&'a str> {
    let Secret::Literal(text) = secret else { return resolved.secret(secret) };
    let message = "a secret stands in the configuration, where backups and reviews see it";
    let help = "refer to it: `${env:NAME}`, `${file:/path}` or `${credential:NAME}`";
    problems.push(Problem::warning("secret.literal", path, message).help(help));
    Some(text)
}

fn identity(
    key: &ApiKey,
    tenants: &Tenants,
    headers: &IdentityHeaders,
) -> Result<Identity, &'static str> {
    let id: Arc<str> = key.id.as_str().into();
    let tenant = key.tenant_id.as_deref().filter(|tenant| !tenant.is_empty());
    let mut facts = IdentityFacts {
        provider: PROVIDER.into(),
        subject: Arc::clone(&id),
        tenant_id: tenant.map(Arc::from),
        tenant_status: tenant.and_then(|tenant| tenants.status(tenant)),
        scopes: key.scopes.iter().map(|scope| scope.as_str().into()).collect(),
        roles: key.roles.iter().map(|role| role.as_str().into()).collect(),
        email: None,
        plan: key.plan.as_deref().filter(|plan| !plan.is_empty()).map(Arc::from),
        client_id: Some(Arc::clone(&id)),
        api_key: Some(id),
        products: key.products.iter().map(|product| product.as_str().into()).collect(),
        token_id: None,
        issued_at: None,
        bound_certificate: None,
        claims: Claims::default(),
        headers: Vec::new(),
    };
    facts.headers = headers
        .render(&facts)
        .map_err(|_| "a value of this key cannot be sent as an identity header")?;
    Ok(Identity::prove(facts))
}
