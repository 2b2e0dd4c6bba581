//! What a key of the database proves about its holder (R103).

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::PROVIDER;
use crate::auth::Providers;
use crate::auth::database::KeyRecord;
use crate::auth::headers::Unsendable;
use crate::auth::jwt::provider::Fingerprint;
use crate::clock::Moment;
use crate::edge::{Identity, IdentityFacts};

/// The holder of a key of the database.
///
/// What it proves depends on the configuration too: on the identity headers and the tenants.
/// It is worked out once for each configuration.
#[derive(Debug)]
pub(in crate::auth) struct Holder {
    record: KeyRecord,
    proof: ArcSwapOption<Proof>,
}

#[derive(Debug)]
struct Proof {
    context: Fingerprint,
    /// None where a value of the record would forge a header.
    identity: Option<Arc<Identity>>,
}

impl Holder {
    /// The holder that a record names.
    pub(super) const fn new(record: KeyRecord) -> Self {
        Self { record, proof: ArcSwapOption::const_empty() }
    }

    /// Whether the key is still good at `now`: in the last second of its time it is.
    pub(super) fn is_good(&self, now: Moment) -> bool {
        self.record.expires_at.is_none_or(|last| now.unix_seconds() <= last)
    }

    /// What the key proves. None where the record makes no sense: that is the database's fault,
    /// not the caller's.
    pub(super) fn identity(&self, providers: &Providers) -> Option<Arc<Identity>> {
        if let Some(proof) = self.proof.load().as_deref()
            && proof.context == providers.context
        {
            return proof.identity.clone();
        }
        let identity = prove(&self.record, providers).ok().map(Arc::new);
        if identity.is_none() {
            let key = &*self.record.id;
            tracing::error!(?key, "the record of an API key holds what no header can");
        }
        let proof = Proof { context: providers.context, identity: identity.clone() };
        self.proof.store(Some(Arc::new(proof)));
        identity
    }
}

fn prove(record: &KeyRecord, providers: &Providers) -> Result<Identity, Unsendable> {
    let text = |text: &Option<String>| {
        text.as_deref().filter(|text| !text.is_empty()).map(Arc::<str>::from)
    };
    let list = |texts: &[String]| texts.iter().map(|text| text.as_str().into()).collect();
    let client: Arc<str> = record.client_id.as_str().into();
    let tenant_id = text(&record.tenant_id);
    if client.is_empty() {
        return Err(Unsendable);
    }
    let mut facts = IdentityFacts {
        provider: PROVIDER.into(),
        subject: Arc::clone(&client),
        tenant_status: tenant_id.as_deref().and_then(|tenant| providers.tenants.status(tenant)),
        tenant_id,
        scopes: list(&record.scopes),
        roles: list(&record.roles),
        plan: text(&record.plan),
        client_id: Some(client),
        api_key: Some(record.id.as_str().into()),
        products: list(&record.products),
        ..IdentityFacts::default()
    };
    facts.headers = providers.headers.render(&facts)?;
    Ok(Identity::prove(facts))
}
