//! `clientCertificates`, compiled: which name counts, and what its bearer may do.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::spiffe;
use crate::auth::challenge::is_scope_token;
use crate::auth::headers::IdentityHeaders;
use crate::auth::jwt::claims::Tenants;
use crate::edge::{ClientCertificate, IdentityFacts};
use crate::model::{CertificateCaller, CertificateName, ClientCertificates, Problem, Problems};

/// What certificates prove.
#[derive(Debug)]
pub(in crate::auth) struct Certificates {
    subject: Vec<CertificateName>,
    trust_domains: Vec<Box<str>>,
    callers: BTreeMap<Box<str>, Caller>,
    accept_unlisted: bool,
}

/// What one holder may do.
#[derive(Debug, Default)]
pub(super) struct Caller {
    tenant_id: Option<Arc<str>>,
    tenant_status: Option<Arc<str>>,
    plan: Option<Arc<str>>,
    scopes: Vec<Arc<str>>,
    roles: Vec<Arc<str>>,
    products: Vec<Arc<str>>,
}

impl Default for Certificates {
    fn default() -> Self {
        let written = ClientCertificates::default();
        Self {
            subject: written.subject,
            trust_domains: Vec::new(),
            callers: BTreeMap::new(),
            accept_unlisted: written.accept_unlisted,
        }
    }
}

impl Certificates {
    /// Compiles `clientCertificates`.
    pub(in crate::auth) fn compile(
        written: &ClientCertificates,
        tenants: &Tenants,
        headers: &IdentityHeaders,
        problems: &mut Problems,
    ) -> Self {
        check_subject(&written.subject, problems);
        check_trust_domains(&written.trust_domains, problems);
        if written.callers.is_empty() && !written.accept_unlisted {
            let message = "no certificate is accepted: `callers` is empty, and holders that it \
                           does not name are refused";
            let path = "clientCertificates.acceptUnlisted";
            problems.push(Problem::error("certificates.nobody", path, message));
        }
        let mut callers = BTreeMap::new();
        for (subject, caller) in &written.callers {
            // Names with dots and slashes stand in quotes in a path.
            let path = format!("clientCertificates.callers.{subject:?}");
            check_key(subject, written, &path, problems);
            check_scopes(caller, &path, problems);
            let caller = Caller::new(caller, tenants);
            let mut facts = IdentityFacts { subject: subject.as_str().into(), ..caller.facts() };
            facts.scopes.retain(|scope| is_scope_token(scope));
            if headers.render(&facts).is_err() {
                let message = "a value here cannot be sent as an identity header";
                problems.push(Problem::error("certificates.caller", path, message));
            }
            callers.insert(subject.as_str().into(), caller);
        }
        Self {
            subject: written.subject.clone(),
            trust_domains: written.trust_domains.iter().map(|name| name.as_str().into()).collect(),
            callers,
            accept_unlisted: written.accept_unlisted,
        }
    }

    /// Who the holder is: the first of the chosen names that the certificate has. A name that
    /// looks like a SPIFFE id counts only where it is the certificate's SPIFFE id: an authority
    /// that lets holders choose their common name must not let them choose that.
    pub(super) fn subject<'c>(
        &self,
        certificate: &'c ClientCertificate,
        spiffe: Option<&'c str>,
    ) -> Option<&'c str> {
        let names = self.subject.iter().filter_map(|kind| match kind {
            CertificateName::Uri => certificate.uris.first().map(|name| &**name),
            CertificateName::Spiffe => spiffe,
            CertificateName::Dns => certificate.dns_names.first().map(|name| &**name),
            CertificateName::Email => certificate.emails.first().map(|name| &**name),
            CertificateName::CommonName => certificate.common_name.as_deref(),
            CertificateName::Subject => Some(&*certificate.subject),
        });
        let is_honest = |name: &&str| !spiffe::is_claimed(name) || spiffe == Some(*name);
        names.filter(is_honest).find(|name| !name.is_empty())
    }

    /// Whether a certificate with this SPIFFE id, or with none, is of an accepted trust domain.
    pub(super) fn trusts(&self, spiffe: Option<&str>) -> bool {
        let domain = || spiffe.and_then(spiffe::trust_domain);
        self.trust_domains.is_empty()
            || domain().is_some_and(|domain| self.trust_domains.iter().any(|one| **one == *domain))
    }

    /// What a holder may do; none where it is not a caller at all.
    pub(super) fn caller(&self, subject: &str) -> Option<IdentityFacts> {
        match self.callers.get(subject) {
            Some(caller) => Some(caller.facts()),
            None => self.accept_unlisted.then(IdentityFacts::default),
        }
    }

    /// Whether any holder has this scope.
    pub(in crate::auth) fn grants(&self, scope: &str) -> bool {
        self.callers.values().any(|caller| caller.scopes.iter().any(|one| **one == *scope))
    }
}

impl Caller {
    fn new(written: &CertificateCaller, tenants: &Tenants) -> Self {
        let list = |texts: &[String]| texts.iter().map(|text| text.as_str().into()).collect();
        let text = |text: &Option<String>| {
            text.as_deref().filter(|text| !text.is_empty()).map(Arc::<str>::from)
        };
        let tenant_id = text(&written.tenant_id);
        Self {
            tenant_status: tenant_id.as_deref().and_then(|tenant| tenants.status(tenant)),
            tenant_id,
            plan: text(&written.plan),
            scopes: list(&written.scopes),
            roles: list(&written.roles),
            products: list(&written.products),
        }
    }

    fn facts(&self) -> IdentityFacts {
        IdentityFacts {
            tenant_id: self.tenant_id.clone(),
            tenant_status: self.tenant_status.clone(),
            plan: self.plan.clone(),
            scopes: self.scopes.clone(),
            roles: self.roles.clone(),
            products: self.products.clone(),
            ..IdentityFacts::default()
        }
    }
}

fn check_subject(names: &[CertificateName], problems: &mut Problems) {
    if names.is_empty() {
        let message = "no name of a certificate becomes the subject, so that nobody has one";
        let path = "clientCertificates.subject";
        problems.push(Problem::error("certificates.subject", path, message));
    }
    for (at, name) in names.iter().enumerate() {
        if names.iter().take(at).any(|earlier| earlier == name) {
            let path = format!("clientCertificates.subject[{at}]");
            let message = "this name stands here twice";
            problems.push(Problem::error("certificates.subject", path, message));
        }
    }
}

fn check_trust_domains(names: &[String], problems: &mut Problems) {
    let mut seen = HashSet::new();
    for (at, name) in names.iter().enumerate() {
        let path = format!("clientCertificates.trustDomains[{at}]");
        if !spiffe::is_trust_domain(name) {
            let message = "this is not the name of a SPIFFE trust domain: lower-case letters, \
                           digits, `.`, `-` and `_`";
            let help = "write it without `spiffe://`, as in `prod.example.com`";
            problems.push(Problem::error("certificates.trust_domain", path, message).help(help));
        } else if !seen.insert(name) {
            let message = format!("the trust domain `{name}` stands here twice");
            problems.push(Problem::error("certificates.trust_domain", path, message));
        }
    }
}

/// A key that no certificate can have gives nobody anything, which is hardly what is meant.
fn check_key(subject: &str, written: &ClientCertificates, path: &str, problems: &mut Problems) {
    if subject.is_empty() {
        let message = "a caller needs a name";
        problems.push(Problem::error("certificates.caller", path, message));
    }
    if !spiffe::is_claimed(subject) {
        return;
    }
    let takes_ids = written
        .subject
        .iter()
        .any(|name| matches!(name, CertificateName::Spiffe | CertificateName::Uri));
    let message = match spiffe::trust_domain(subject) {
        None => "this is not a SPIFFE id, so that no certificate proves it",
        Some(_) if !takes_ids => {
            "`subject` takes neither `spiffe` nor `uri`, so that no \
                                  certificate proves this id"
        }
        Some(domain)
            if !written.trust_domains.is_empty()
                && !written.trust_domains.iter().any(|one| one == domain) =>
        {
            "`trustDomains` does not have the trust domain of this id"
        }
        Some(_) => return,
    };
    problems.push(Problem::warning("certificates.caller", path, message));
}

fn check_scopes(caller: &CertificateCaller, path: &str, problems: &mut Problems) {
    for (at, scope) in caller.scopes.iter().enumerate() {
        if !is_scope_token(scope) {
            let message = "a scope is visible ASCII without spaces, `\"` and `\\`";
            let path = format!("{path}.scopes[{at}]");
            problems.push(Problem::error("certificates.scope", path, message));
        }
    }
}

#[cfg(test)]
mod tests;
