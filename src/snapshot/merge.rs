//! Defaults: a key that a route leaves out takes the value of the root.

use crate::model::{Policies, RequestPolicy};

/// A route's policies over the defaults. A key is taken whole from one or the other.
pub(super) fn policies(route: &Policies, defaults: &Policies) -> Policies {
    macro_rules! over {
        ($($field:ident),+) => {
            Policies { $($field: route.$field.clone().or_else(|| defaults.$field.clone()),)+ }
        };
    }
    over!(
        auth,
        authorization,
        rate_limit,
        rate_limit_cost,
        timeout_ms,
        retries,
        retry_on,
        retry_idempotency_key,
        retry_body_bytes,
        attempt_timeout_ms,
        deadline_header,
        hedge,
        stream,
        upgrades,
        cache,
        compression,
        forward_credentials
    )
}

/// A route's request policy over the defaults.
pub(super) fn request_policy(route: &RequestPolicy, defaults: &RequestPolicy) -> RequestPolicy {
    RequestPolicy {
        max_body_bytes: route.max_body_bytes.or(defaults.max_body_bytes),
        allowed_content_types: route
            .allowed_content_types
            .clone()
            .or_else(|| defaults.allowed_content_types.clone()),
        require_headers: route.require_headers.clone().or_else(|| defaults.require_headers.clone()),
    }
}
