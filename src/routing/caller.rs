//! What is known about who sends a request, beyond the request itself.
//!
//! Routes may match by claims and tenant of the caller, and which credentials prove a caller is
//! for each route to say. So the table does not verify anybody: where the caller decides it asks
//! ([`Found::AskCaller`](super::Found::AskCaller)), is told, and is asked again.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::geo::{Geo, Whereabouts};
use crate::edge::Identity;
use crate::model::Auth;

/// Which credentials a route accepts; routes of one set accept the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CredentialSet(u32);

/// What is known about the sender of one request: who it has proved to be, by the credentials
/// that routes accept, and where it is. Empty at first; making one allocates nothing.
#[derive(Debug, Default)]
pub struct Caller {
    proofs: Vec<(CredentialSet, Option<Arc<Identity>>)>,
    assumed: Option<Arc<Identity>>,
    whereabouts: OnceCell<Whereabouts>,
}

impl Caller {
    /// A caller that is taken for granted whatever a route accepts, for explanations.
    #[must_use]
    pub fn assumed(identity: Arc<Identity>) -> Self {
        Self { assumed: Some(identity), ..Self::default() }
    }

    /// Whether nobody asked for the caller yet.
    #[must_use]
    pub const fn is_unknown(&self) -> bool {
        self.proofs.is_empty() && self.assumed.is_none()
    }

    /// Notes who the caller is by these credentials; none where they are missing or not good.
    pub fn learn(&mut self, set: CredentialSet, identity: Option<Arc<Identity>>) {
        debug_assert!(self.proof(set).is_none(), "asked twice for {set:?}");
        self.proofs.push((set, identity));
    }

    /// Who the caller is by these credentials: none where nobody asked yet, `Some(None)` where
    /// nobody is proved.
    #[must_use]
    pub fn proof(&self, set: CredentialSet) -> Option<Option<&Arc<Identity>>> {
        if let Some(identity) = &self.assumed {
            return Some(Some(identity));
        }
        let known = self.proofs.iter().find(|(known, _)| *known == set);
        known.map(|(_, identity)| identity.as_ref())
    }

    /// Where the client is; looked up once, for the first route that wants to know.
    pub(super) fn whereabouts(&self, geo: &Geo, address: IpAddr) -> Whereabouts {
        *self.whereabouts.get_or_init(|| geo.find(address))
    }
}

/// Numbers the sets of credentials that the routes of a configuration accept.
#[derive(Debug, Default)]
pub(super) struct CredentialSets(HashMap<String, CredentialSet>);

impl CredentialSets {
    /// The set of a route with this `policies.auth`; none where it accepts everybody. A route
    /// that does not say is refused elsewhere, and counts as one that asks.
    pub(super) fn of(&mut self, auth: Option<&Auth>) -> Option<CredentialSet> {
        let key = match auth {
            Some(Auth::None) => return None,
            None | Some(Auth::Required) => String::new(),
            Some(Auth::Settings(settings)) => {
                let mut providers: Vec<&str> =
                    settings.providers.iter().map(String::as_str).collect();
                providers.sort_unstable();
                format!("{providers:?} {:?} {:?}", settings.any_of, settings.failure_mode)
            }
        };
        let next = CredentialSet(u32::try_from(self.0.len()).unwrap_or(u32::MAX));
        Some(*self.0.entry(key).or_insert(next))
    }
}
