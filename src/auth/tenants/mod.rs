//! Tenants and their status (R114): the configuration's word first, then the database's, then
//! what the token says.
//!
//! The database is asked as it is about API keys ([`lookup`](super::lookup)), and only where a
//! route lets some statuses through.

use std::sync::Arc;

use super::lookup::{Kind, Known, Local, Records, RecordsError};
use super::question::{Denied, Question, Unavailable};
use super::{Evidence, challenge};
use crate::edge::Identity;

/// Longest id of a tenant that is looked up, in bytes; a longer one is nobody's.
const ID_BYTES_MAX: usize = 256;

/// Tenants of the database, as they are looked up.
#[derive(Debug)]
pub(in crate::auth) struct Tenants;

/// Tenants of the database that are known here.
pub(in crate::auth) type KnownTenants = Known<Tenants>;

impl Kind for Tenants {
    type Key = Arc<str>;
    type Record = String;
    type Value = Box<str>;

    const WORD: &'static str = "tenant";

    fn value(status: String) -> Option<Box<str>> {
        (!status.is_empty()).then(|| status.into())
    }

    fn redis_key(id: &Arc<str>) -> String {
        format!("auth:tenant:{id}")
    }

    async fn find(records: &dyn Records, id: &Arc<str>) -> Result<Option<String>, RecordsError> {
        records.find_tenant(id).await
    }
}

/// Whether the status of the caller's tenant is among `allowed`; none where it is not known.
/// `stale` is whether what was known last counts while nobody can be asked.
///
/// # Errors
/// 503 where the status cannot be known at the moment, or the question what it is.
pub(super) fn has_status(
    identity: &Identity,
    allowed: &[Box<str>],
    evidence: &Evidence<'_>,
    stale: bool,
) -> Result<Option<bool>, Denied> {
    let is_allowed = |status: &str| allowed.iter().any(|allowed| **allowed == *status);
    let claimed = || identity.tenant_status.as_deref().map(is_allowed);
    let Evidence { providers, memory, answers, now, .. } = *evidence;
    let (Some(tenant), Some(database)) = (&identity.tenant_id, &providers.database) else {
        return Ok(claimed());
    };
    // What the configuration says stands in the identity already.
    if providers.tenants.status(tenant).is_some() || tenant.len() > ID_BYTES_MAX {
        return Ok(claimed());
    }
    let status = match &answers.tenant {
        Some(Ok(status)) => status.clone(),
        Some(Err(Unavailable)) if stale => {
            let last = memory.tenants.last(tenant, now, &database.terms);
            Some(last.ok_or_else(challenge::unavailable)?)
        }
        Some(Err(Unavailable)) => return Err(challenge::unavailable().into()),
        None => match memory.tenants.look(tenant, now, &database.terms) {
            Local::Found(status) => Some(status),
            Local::Nobody => None,
            Local::Unknown => return Err(Denied::Ask(Question::Tenant(Arc::clone(tenant)))),
        },
    };
    Ok(status.map_or_else(claimed, |status| Some(is_allowed(&status))))
}

#[cfg(test)]
mod tests;
