//! Which credentials a route takes, and where a request is searched for them.

use super::ProviderIndex;
use super::challenge::Scheme;
use crate::model::{AuthFailureMode, AuthMethod};

/// Which credentials a route takes.
#[derive(Debug)]
pub(super) struct Credentials {
    /// Providers whose tokens are accepted; empty where tokens are not.
    pub(super) providers: Vec<ProviderIndex>,
    /// Providers that are asked about tokens; empty where none is.
    pub(super) introspected: Vec<ProviderIndex>,
    /// Whether API keys are accepted.
    pub(super) api_keys: bool,
    /// Whether signatures on requests are accepted: only where the route asks for them by name.
    pub(super) signatures: bool,
    /// Whether client certificates are accepted: only where the route asks for them by name.
    pub(super) certificates: bool,
    /// What happens while nobody can be asked.
    pub(super) failure_mode: AuthFailureMode,
    /// What a request is searched for, in order; only what is accepted.
    pub(super) order: Vec<Kind>,
}

/// Where a request carries credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `Authorization: Bearer`: tokens that are verified here, and those that are asked about.
    Token,
    /// An API key.
    ApiKey,
    /// A signature on the request.
    Signature,
    /// The connection's certificate.
    Certificate,
}

impl Kind {
    /// The order where the route does not give one.
    pub(super) const USUAL: [AuthMethod; 3] =
        [AuthMethod::Jwt, AuthMethod::Introspection, AuthMethod::ApiKey];

    const fn of(method: AuthMethod) -> Self {
        match method {
            AuthMethod::Jwt | AuthMethod::Introspection => Self::Token,
            AuthMethod::ApiKey => Self::ApiKey,
            AuthMethod::Signature => Self::Signature,
            AuthMethod::ClientCertificate => Self::Certificate,
        }
    }
}

impl Credentials {
    /// Whether tokens of a provider are accepted.
    pub(super) fn accepts(&self, provider: ProviderIndex) -> bool {
        self.providers.contains(&provider)
    }

    /// Whether what was known last counts while nobody can be asked.
    pub(super) fn takes_stale(&self) -> bool {
        self.failure_mode == AuthFailureMode::Stale
    }

    /// Whether any tokens are accepted.
    pub(super) const fn takes_tokens(&self) -> bool {
        !self.providers.is_empty() || !self.introspected.is_empty()
    }

    /// Nobody's: what is in error asks for credentials that nobody has.
    pub(super) const fn nobody() -> Self {
        Self {
            providers: Vec::new(),
            introspected: Vec::new(),
            api_keys: false,
            signatures: false,
            certificates: false,
            failure_mode: AuthFailureMode::Closed,
            order: Vec::new(),
        }
    }

    /// With what requests are searched for, in the order of `methods`.
    pub(super) fn searched(mut self, methods: &[AuthMethod]) -> Self {
        for kind in methods.iter().map(|method| Kind::of(*method)) {
            let accepted = match kind {
                Kind::Token => self.takes_tokens(),
                Kind::ApiKey => self.api_keys,
                Kind::Signature => self.signatures,
                Kind::Certificate => self.certificates,
            };
            if accepted && !self.order.contains(&kind) {
                self.order.push(kind);
            }
        }
        self
    }

    /// The scheme to name to callers who sent nothing.
    pub(super) const fn scheme(&self) -> Scheme {
        match (self.takes_tokens(), self.api_keys, self.certificates) {
            (false, false, true) => Scheme::ClientCertificate,
            (false, _, _) => Scheme::ApiKey,
            (true, _, _) => Scheme::Bearer,
        }
    }
}
