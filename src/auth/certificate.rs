//! What a client certificate proves about its holder.
//!
//! The listener has verified it; this decides who that is. A route must ask for certificates by
//! name (`anyOf: [clientCertificate]`): a listener may verify them for the sake of transport
//! alone, and then they are nobody's login.

mod settings;
mod spiffe;

use std::sync::Arc;

use serde_json::{Map, Value};

pub(super) use settings::Certificates;

use super::Providers;
use super::challenge;
use crate::clock::Moment;
use crate::edge::{ClientCertificate, Identity, IdentityFacts};
use crate::fault::Reject;

/// What `IdentityFacts::provider` says for certificates; no identity provider may be called so.
pub(super) const PROVIDER: &str = "clientCertificate";

/// The holder of a certificate. Built once for a connection, and again per request only on
/// connections that are older than a change of `identityHeaders`, `tenants` or
/// `clientCertificates`.
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
    let refused = challenge::certificate_refused;
    let spiffe = spiffe_id(certificate);
    if !providers.certificates.trusts(spiffe) {
        return Err(refused("the client certificate is of a trust domain not accepted here"));
    }
    let subject = providers
        .certificates
        .subject(certificate, spiffe)
        .ok_or_else(|| refused("the client certificate names nobody"))?;
    let caller = providers
        .certificates
        .caller(subject)
        .ok_or_else(|| refused("the holder of the client certificate is not known here"))?;
    let mut facts = IdentityFacts {
        provider: PROVIDER.into(),
        subject: subject.into(),
        claims: claims(certificate, spiffe).into(),
        ..caller
    };
    facts.headers = providers
        .headers
        .render(&facts)
        .map_err(|_| refused("a name in the client certificate cannot be passed on"))?;
    Ok(facts)
}

/// The SPIFFE id of a certificate: its one URI, if that is an id. A certificate with more than
/// one URI has none (X509-SVID standard, section 5.2).
fn spiffe_id(certificate: &ClientCertificate) -> Option<&str> {
    match &*certificate.uris {
        [one] if spiffe::trust_domain(one).is_some() => Some(one),
        _ => None,
    }
}

/// What `claim:NAME` finds. `ClientCertificates` in `model` documents the names.
fn claims(certificate: &ClientCertificate, spiffe: Option<&str>) -> Map<String, Value> {
    let list = |names: &[Box<str>]| names.iter().map(|name| Value::from(&**name)).collect();
    let mut claims = Map::with_capacity(9);
    let mut put = |name: &str, value: Value| claims.insert(name.to_owned(), value);
    put("subject", (&*certificate.subject).into());
    put("issuer", (&*certificate.issuer).into());
    put("serial", (&*certificate.serial).into());
    put("fingerprint", (&*certificate.fingerprint).into());
    if let Some(name) = certificate.common_name.as_deref() {
        put("commonName", name.into());
    }
    if let Some(id) = spiffe {
        put("spiffeId", id.into());
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
