//! How one key set is fetched, compiled: what the configuration says and the files it names.

use std::sync::Arc;

use crate::model::{IdentityProvider, JwksSettings, Problem, Problems, Resolved, pem};

/// How a key set is fetched. Two that are equal share a client and what is being fetched; any
/// difference makes new ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::auth) struct FetchSettings {
    /// What the configuration says.
    pub(in crate::auth) jwks: JwksSettings,
    /// The PEM text that vouches for the issuer's TLS; none means the system's certificates.
    pub(in crate::auth) authorities: Option<Arc<[u8]>>,
}

impl FetchSettings {
    /// Reads the settings of a provider whose keys are fetched. What is wrong becomes a problem;
    /// certificates that cannot be read leave none to trust, never the system's.
    pub(in crate::auth) fn compile(
        written: &IdentityProvider,
        path: &str,
        resolved: &Resolved,
        problems: &mut Problems,
    ) -> Self {
        let authorities = written.jwks.ca_file.as_ref().map(|file| {
            let place = format!("{path}.jwks.caFile");
            match pem::certificates(resolved, file, &place) {
                Ok(Some(_)) => resolved.file(file).unwrap_or_default().into(),
                Ok(None) => Arc::default(),
                Err(problem) => {
                    problems.push(*problem);
                    Arc::default()
                }
            }
        });
        Self { jwks: written.jwks.clone(), authorities }
    }
}

/// Checks the numbers of `identityProviders.*.jwks`, whether or not a set is fetched.
pub(in crate::auth) fn check(settings: &JwksSettings, path: &str, problems: &mut Problems) {
    let mut error = |code, key: &str, message: &str| {
        problems.push(Problem::error(code, format!("{path}.jwks.{key}"), message));
    };
    if settings.refresh.get().as_secs() == 0 {
        error("provider.refresh", "refresh", "a key set is fetched at most once a second");
    }
    if settings.min_refresh.get().as_secs() == 0 {
        error("provider.refresh", "minRefresh", "a key set is fetched at most once a second");
    }
    if settings.max_refresh.get() < settings.min_refresh.get() {
        error("provider.refresh", "maxRefresh", "this is shorter than `minRefresh`");
    }
    if settings.timeout.get().is_zero() {
        error("provider.timeout", "timeout", "a fetch needs some time; 5s is usual");
    }
    if settings.max_keys == 0 {
        error("provider.keys", "maxKeys", "a set without keys verifies nothing; 64 is usual");
    }
}
