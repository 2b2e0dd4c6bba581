//! The contract with services, for `tidegate headers`: what they are told, what is taken from
//! clients, how it is signed (R110).

use http::HeaderName;

use super::{Header, IdentityHeaders};
use crate::model::{Config, HeaderEncoding};

/// What services may rely on.
#[derive(Debug)]
pub struct Contract {
    /// What they are told about callers, by the name of the header.
    pub headers: Vec<ContractHeader>,
    /// Headers that no client can send them.
    pub stripped: Vec<String>,
    /// The gateway's signature; none where there is none.
    pub signature: Option<ContractSignature>,
}

/// A header of the contract.
#[derive(Debug)]
pub struct ContractHeader {
    /// Its name, in lower case.
    pub name: String,
    /// The fact, as the configuration names it.
    pub fact: String,
    /// Where the fact comes from: what vouches for the caller, and what is read there.
    pub sources: Vec<(String, String)>,
    /// How it is written.
    pub encoding: HeaderEncoding,
    /// What separates the items of a list; none where it is never one, or is JSON.
    pub separator: Option<char>,
}

/// The gateway's signature.
#[derive(Debug)]
pub struct ContractSignature {
    /// Ids of the keys that services should know; the first one signs.
    pub keys: Vec<String>,
    /// How old a signature may be, in seconds.
    pub max_age_seconds: u64,
}

impl Contract {
    pub(in crate::auth) fn of(
        config: &Config,
        headers: &IdentityHeaders,
        stripped: &[HeaderName],
    ) -> Self {
        let mut stripped: Vec<String> = stripped.iter().map(ToString::to_string).collect();
        stripped.sort_unstable();
        Self {
            headers: headers.0.iter().map(|header| header.describe(config)).collect(),
            stripped,
            signature: config.identity_signature.as_ref().map(|signature| ContractSignature {
                keys: signature.keys.iter().map(|key| key.id.clone()).collect(),
                max_age_seconds: signature.max_age.get().as_secs(),
            }),
        }
    }
}

impl Header {
    fn describe(&self, config: &Config) -> ContractHeader {
        let Self { name, fact, encoding } = self;
        let fact_word = fact.to_string();
        let is_json = *encoding == HeaderEncoding::Json;
        ContractHeader {
            name: name.to_string(),
            sources: sources(&fact_word, config),
            fact: fact_word,
            encoding: *encoding,
            separator: fact.separator().filter(|_| !is_json),
        }
    }
}

/// Where a fact comes from, by what vouches for callers.
fn sources(fact: &str, config: &Config) -> Vec<(String, String)> {
    let mut sources = Vec::new();
    for (name, provider) in &config.identity_providers {
        let claims = &provider.claims;
        let claim = match fact {
            "subject" => &claims.subject,
            "tenantId" => &claims.tenant_id,
            "roles" => &claims.roles,
            "scopes" => &claims.scopes,
            "products" => &claims.products,
            "email" => &claims.email,
            "plan" => &claims.plan,
            "clientId" => &claims.client_id,
            "tokenId" => "jti",
            "provider" => {
                sources.push((format!("tokens of `{name}`"), format!("the text `{name}`")));
                continue;
            }
            other => match other.strip_prefix("claim:") {
                Some(claim) => claim,
                None => continue,
            },
        };
        sources.push((format!("tokens of `{name}`"), format!("claim `{claim}`")));
    }
    let key = match fact {
        "subject" | "clientId" | "apiKey" => "id of the key",
        "tenantId" => "`tenantId` of the key",
        "roles" => "`roles` of the key",
        "scopes" => "`scopes` of the key",
        "products" => "`products` of the key",
        "plan" => "`plan` of the key",
        "provider" => "the text `apiKeys`",
        _ => "",
    };
    if !key.is_empty() && (!config.api_keys.is_empty() || config.database.is_some()) {
        sources.push(("API keys".to_owned(), key.to_owned()));
    }
    let signer = match fact {
        "subject" => "name of the signer",
        "tenantId" => "`tenantId` of the signer",
        "roles" => "`roles` of the signer",
        "scopes" => "`scopes` of the signer",
        "products" => "`products` of the signer",
        "plan" => "`plan` of the signer",
        _ => "",
    };
    if !signer.is_empty() && !config.signers.is_empty() {
        sources.push(("signed requests".to_owned(), signer.to_owned()));
    }
    sources.extend(certificate(fact, config));
    sources
}

/// Where a fact comes from, of callers with a certificate.
fn certificate(fact: &str, config: &Config) -> Option<(String, String)> {
    let asks = config.listeners.iter().filter_map(|listener| listener.tls.as_ref());
    if !asks.into_iter().any(|tls| tls.client_certificate.is_some()) {
        return None;
    }
    let said = match fact {
        "subject" => "name in the certificate".to_owned(),
        "tenantId" | "roles" | "scopes" | "products" | "plan" => {
            format!("`{fact}` of the caller in `clientCertificates`")
        }
        "provider" => "the text `clientCertificate`".to_owned(),
        other => {
            let field = other.strip_prefix("claim:").filter(|f| CERTIFICATE_FIELDS.contains(f))?;
            format!("`{field}` of the certificate")
        }
    };
    Some(("client certificates".to_owned(), said))
}

/// What `claim:NAME` finds in a certificate.
const CERTIFICATE_FIELDS: [&str; 8] =
    ["subject", "issuer", "serial", "fingerprint", "commonName", "dnsNames", "uris", "emails"];
