//! May this caller use this route.

use super::AuthPolicy;
use super::challenge;
use super::policy::holds;
use crate::edge::Identity;
use crate::fault::{Fault, Hint, Reject};

/// Checks scopes, all of which the caller must have, and the status of the caller's tenant.
///
/// Only what the token or the configuration says is checked; whether the caller may have this
/// or that resource is the service's to say (R116).
///
/// # Errors
/// 403 naming the missing scope (`insufficient_scope`), or the tenant's refusal. 401 where the
/// route asks for a caller and there is none: whoever forgot to authenticate opens nothing.
pub fn authorize(policy: &AuthPolicy, identity: Option<&Identity>) -> Result<(), Reject> {
    let Some(identity) = identity else {
        return match policy.credentials() {
            Some(credentials) => Err(challenge::missing(credentials.scheme())),
            None if policy.scopes.is_empty() && policy.tenant_status.is_empty() => Ok(()),
            None => Err(Reject::new(Fault::ScopeInsufficient)),
        };
    };
    let missing = policy.scopes.iter().find(|scope| !holds(&identity.scopes, &scope.name));
    if let Some(missing) = missing {
        return Err(missing.refusal.clone());
    }
    if policy.tenant_status.is_empty() {
        return Ok(());
    }
    let hint = match identity.tenant_status.as_deref() {
        Some(status) if policy.tenant_status.iter().any(|allowed| **allowed == *status) => {
            return Ok(());
        }
        Some(_) => Hint::literal("the status of the tenant does not allow this"),
        None => Hint::literal("the status of the tenant is not known"),
    };
    Err(Reject::new(Fault::TenantRefused).with_hint(hint))
}
