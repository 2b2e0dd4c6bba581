//! What a client certificate proves about its holder.
//!
//! The listener has verified it; this decides who that is. A route must ask for certificates by
//! name (`methods: [clientCertificate]`): a listener may verify them for the sake of transport
//! alone, and then they are nobody's login.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::Providers;
use super::challenge;
use crate::clock::Moment;
use crate::edge::{ClientCertificate, Identity, IdentityFacts};
use crate::fault::Reject;

/// What `IdentityFacts::provider` says for certificates; no identity provider may be called so.
pub(super) const PROVIDER: &str = "clientCertificate";

/// The holder of a certificate. Built once for a connection, and again per request only on
/// connections that are older than a change of `identityHeaders` or `tenants`.
///
/// # Errors
/// 401 when it has expired since the handshake, names nobody, or cannot be passed on.
pub(super) fn identify(
    certificate: &ClientCertificate,
    providers: &Providers,
    now: Moment,
) -> Result<Arc<Identity>, Reject> {
    // A connection may outlive the certificate that it was opened with.
    if i64::try_from(now.unix_seconds()).is_ok_and(|now| now > certificate.not_after) {
        return Err(challenge::certificate_refused("the client certificate has expired"));
    }
    let context = providers.context.bytes();
    if let Some(known) = certificate.proved.get(context) {
        return Ok(Arc::clone(known));
    }
    let identity = Arc::new(Identity::prove(facts(certificate, providers)?));
    certificate.proved.keep(context, &identity);
    Ok(identity)
}

fn facts(certificate: &ClientCertificate, providers: &Providers) -> Result<IdentityFacts, Reject> {
    let subject = subject(certificate)
        .ok_or_else(|| challenge::certificate_refused("the client certificate names nobody"))?;
    let mut facts = IdentityFacts {
        provider: PROVIDER.into(),
        subject: subject.into(),
        claims: claims(certificate),
        ..IdentityFacts::default()
    };
    facts.headers = providers.headers.render(&facts).map_err(|_| {
        challenge::certificate_refused("a name in the client certificate cannot be passed on")
    })?;
    Ok(facts)
}

/// Who the holder is: the first URI (SPIFFE's place), else host name, else the common name,
/// else the whole subject.
fn subject(certificate: &ClientCertificate) -> Option<&str> {
    let names = [
        certificate.uris.first(),
        certificate.dns_names.first(),
        certificate.common_name.as_ref(),
        Some(&certificate.subject),
    ];
    names.into_iter().flatten().map(|name| &**name).find(|name| !name.is_empty())
}

/// What `claim:NAME` finds.
fn claims(certificate: &ClientCertificate) -> Map<String, Value> {
    let list = |names: &[Box<str>]| names.iter().map(|name| Value::from(&**name)).collect();
    let mut claims = Map::with_capacity(8);
    let mut put = |name: &str, value: Value| claims.insert(name.to_owned(), value);
    put("subject", (&*certificate.subject).into());
    put("issuer", (&*certificate.issuer).into());
    put("serial", (&*certificate.serial).into());
    put("fingerprint", (&*certificate.fingerprint).into());
    if let Some(name) = certificate.common_name.as_deref() {
        put("commonName", name.into());
    }
    for (name, values) in [
        ("dnsNames", &certificate.dns_names),
        ("uris", &certificate.uris),
        ("emails", &certificate.emails),
    ] {
        put(name, list(values));
    }
    claims
}

#[cfg(test)]
mod tests;
