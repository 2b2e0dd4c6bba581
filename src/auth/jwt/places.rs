//! Where a provider's keys are, as the configuration says it.

use reqwest::Url;

use super::provider::is_loopback;
use crate::model::{IdentityProvider, Problem, Problems, Secret};

/// Keys of which exactly one says where a provider's keys are.
const SOURCES: &str = "`discoveryUrl`, `jwksUrl`, `jwksFile`, `publicKeyPem`, `publicKeyFile`, \
                       `secret` or `developmentKeyFile`";

/// A key source as written.
pub(super) enum Source<'a> {
    Discovery(&'a str),
    Url(&'a str),
    JwksFile(&'a str),
    Pem(&'a str),
    PemFile(&'a str),
    Secret(&'a Secret),
    Development(&'a str),
}

impl Source<'_> {
    /// The key of the configuration that names it.
    pub(super) const fn key(&self) -> &'static str {
        match self {
            Self::Discovery(_) => "discoveryUrl",
            Self::Url(_) => "jwksUrl",
            Self::JwksFile(_) => "jwksFile",
            Self::Pem(_) => "publicKeyPem",
            Self::PemFile(_) => "publicKeyFile",
            Self::Secret(_) => "secret",
            Self::Development(_) => "developmentKeyFile",
        }
    }
}

/// Every source that is given.
pub(super) fn sources(written: &IdentityProvider) -> impl Iterator<Item = Source<'_>> {
    [
        written.discovery_url.as_deref().map(Source::Discovery),
        written.jwks_url.as_deref().map(Source::Url),
        written.jwks_file.as_deref().map(Source::JwksFile),
        written.public_key_pem.as_deref().map(Source::Pem),
        written.public_key_file.as_deref().map(Source::PemFile),
        written.secret.as_ref().map(Source::Secret),
        written.development_key_file.as_deref().map(Source::Development),
    ]
    .into_iter()
    .flatten()
}

/// The one source; none where there is none or the choice is not clear, which is a problem
/// unless the issuer is asked about every token.
pub(super) fn source<'a>(
    written: &'a IdentityProvider,
    path: &str,
    problems: &mut Problems,
) -> Option<Source<'a>> {
    let mut given: Vec<Source<'_>> = sources(written).collect();
    if given.len() == 1 {
        return given.pop();
    }
    if given.is_empty() && written.introspection.is_some() {
        return None;
    }
    let message = if given.is_empty() {
        "the provider has no keys".to_owned()
    } else {
        let keys: Vec<&str> = given.iter().map(Source::key).collect();
        format!("the provider has more than one source of keys: {}", keys.join(", "))
    };
    let help = format!("give exactly one of {SOURCES}");
    problems.push(Problem::error("provider.keys", path, message).help(help));
    None
}

/// Whether keys can be fetched from a URL at all; warns where anybody on the way could swap
/// them.
pub(super) fn check_url(url: &str, path: &str, problems: &mut Problems) -> bool {
    let Some(url) = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "https" | "http"))
    else {
        let message = "this is not an http or https URL";
        problems.push(Problem::error("provider.url", path, message));
        return false;
    };
    if url.scheme() == "http" && !is_loopback(&url) {
        let message = "keys come over cleartext: whoever is on the way can put in their own";
        let help = "use https; http is for 127.0.0.1, ::1 and localhost";
        problems.push(Problem::warning("provider.cleartext", path, message).help(help));
    }
    true
}
