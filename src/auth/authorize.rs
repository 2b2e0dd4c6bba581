//! May this caller use this route.

use super::challenge;
use super::credentials::Credentials;
use super::question::Denied;
use super::{AuthPolicy, Evidence, tenants};
use crate::edge::{Identity, RequestView};
use crate::fault::{Fault, Hint, Reject};

/// Checks what the caller must be allowed to do (scopes and roles, by method), the product that
/// it must be allowed to use, and the status of its tenant. Where it may come from was checked by
/// [`admit_address`](super::admit_address), before anybody was asked for credentials.
///
/// Only what the token or the configuration says is checked; whether the caller may have this
/// or that resource is the service's to say (R116).
///
/// # Errors
/// 403 naming the missing scope or role (`insufficient_scope`), the product, or the tenant's
/// refusal; 503 where the tenant's status cannot be known, or the question what it is. 401 where
/// the route asks for a caller and there is none: whoever forgot to authenticate opens nothing.
pub fn authorize(
    policy: &AuthPolicy,
    identity: Option<&Identity>,
    view: &RequestView<'_>,
    evidence: &Evidence<'_>,
) -> Result<(), Denied> {
    let Some(identity) = identity else {
        return match policy.credentials() {
            Some(credentials) => {
                Err(challenge::missing(credentials.scheme(), evidence.providers).into())
            }
            None if asks_nobody(policy, view) => Ok(()),
            None => Err(Reject::new(Fault::ScopeInsufficient).into()),
        };
    };
    if let Some(refusal) = policy.demands.of(view.method).refusal(identity) {
        return Err(refusal.clone().into());
    }
    let product = policy.product.as_ref();
    if let Some(refusal) = product.and_then(|product| product.refusal(&identity.products)) {
        return Err(refusal.clone().into());
    }
    if policy.tenant_status.is_empty() {
        return Ok(());
    }
    let stale = policy.credentials().is_some_and(Credentials::takes_stale);
    let hint = match tenants::has_status(identity, &policy.tenant_status, evidence, stale)? {
        Some(true) => return Ok(()),
        Some(false) => Hint::literal("the status of the tenant does not allow this"),
        None => Hint::literal("the status of the tenant is not known"),
    };
    Err(Reject::new(Fault::TenantRefused).with_hint(hint).into())
}

/// Whether nothing is asked that only a caller could have.
fn asks_nobody(policy: &AuthPolicy, view: &RequestView<'_>) -> bool {
    policy.tenant_status.is_empty()
        && policy.product.is_none()
        && policy.demands.of(view.method).is_empty()
}
