//! What a route asks of its callers, compiled.

use std::collections::HashMap;
use std::sync::Arc;

use super::challenge::{Scheme, insufficient_scope, is_scope_token, scope_challenge};
use super::{ProviderIndex, Providers};
use crate::fault::Reject;
use crate::model::{Auth, AuthMethod, AuthSettings, Authorization, Policies, Problem, Problems};

/// What a route asks of its callers.
#[derive(Debug)]
pub struct AuthPolicy {
    credentials: Option<Credentials>,
    pub(super) scopes: Vec<RequiredScope>,
    /// Statuses of the tenant that are let through; empty means any, and callers without.
    pub(super) tenant_status: Vec<Box<str>>,
}

/// Which credentials a route takes.
#[derive(Debug)]
pub(super) struct Credentials {
    /// Providers whose tokens are accepted; empty where tokens are not.
    pub(super) providers: Vec<ProviderIndex>,
    /// Whether API keys are accepted.
    pub(super) api_keys: bool,
    /// Whether client certificates are accepted: only where the route asks for them by name.
    pub(super) certificates: bool,
}

/// A scope that callers must have, and the refusal of those who lack it.
#[derive(Debug)]
pub(super) struct RequiredScope {
    pub(super) name: Box<str>,
    pub(super) refusal: Reject,
}

impl Credentials {
    /// Whether tokens of a provider are accepted.
    pub(super) fn accepts(&self, provider: ProviderIndex) -> bool {
        self.providers.contains(&provider)
    }

    /// The scheme to name to callers who sent nothing.
    pub(super) const fn scheme(&self) -> Scheme {
        match (self.providers.is_empty(), self.api_keys, self.certificates) {
            (true, false, true) => Scheme::ClientCertificate,
            (true, _, _) => Scheme::ApiKey,
            (false, _, _) => Scheme::Bearer,
        }
    }
}

impl AuthPolicy {
    /// Compiles the effective `policies.auth` and `policies.authorization` of a route (its own
    /// merged over the defaults); problems carry `path` (`routes[3].policies`). A route without
    /// any `auth` is an error (R113, R181).
    pub fn compile(
        policies: &Policies,
        providers: &Providers,
        path: &str,
        problems: &mut Problems,
    ) -> Self {
        let mut compile = Compile { providers, path, problems };
        let credentials = compile.auth(policies.auth.as_ref());
        let authorization = policies.authorization.as_ref();
        let is_open = matches!(policies.auth, Some(Auth::None));
        let (scopes, tenant_status) = authorization
            .map_or_else(Default::default, |written| compile.authorization(written, is_open));
        Self { credentials, scopes, tenant_status }
    }

    /// Whether callers must prove who they are.
    #[must_use]
    pub const fn is_required(&self) -> bool {
        self.credentials.is_some()
    }

    /// The credentials that are asked for; none where the route is open.
    pub(super) const fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }
}

struct Compile<'a> {
    providers: &'a Providers,
    path: &'a str,
    problems: &'a mut Problems,
}

impl Compile<'_> {
    fn auth(&mut self, auth: Option<&Auth>) -> Option<Credentials> {
        let path = format!("{}.auth", self.path);
        // What is in error here asks for credentials that nobody has: the configuration is
        // refused anyway, and nothing opens if it were not.
        let nobody = Credentials { providers: Vec::new(), api_keys: false, certificates: false };
        let credentials = match auth {
            Some(Auth::None) => return None,
            Some(Auth::Required) => Credentials {
                providers: self.providers.iter().map(|(index, _)| index).collect(),
                api_keys: self.providers.api_keys.is_configured(),
                certificates: false,
            },
            Some(Auth::Settings(settings)) => self.settings(settings, &path),
            None => {
                let message = "the route does not say whether callers must prove who they are";
                let help = "write `auth: required` or `auth: none`";
                self.problems.push(Problem::error("auth.missing", path, message).help(help));
                return Some(nobody);
            }
        };
        if credentials.providers.is_empty() && !credentials.api_keys && !credentials.certificates {
            let message = "nobody could pass: there is no identity provider and no API key that \
                           this route accepts";
            let help = "add `identityProviders` or `apiKeys`, or write `auth: none`";
            self.problems.push(Problem::error("auth.nobody", path, message).help(help));
            return Some(nobody);
        }
        self.check_issuers(&credentials, &path);
        Some(credentials)
    }

    fn settings(&mut self, settings: &AuthSettings, path: &str) -> Credentials {
        let accepts = |method| settings.methods.is_empty() || settings.methods.contains(&method);
        if !settings.providers.is_empty() && !accepts(AuthMethod::Jwt) {
            let message = "`providers` has no effect without the method `jwt`";
            self.problems.push(Problem::error(
                "auth.providers",
                format!("{path}.providers"),
                message,
            ));
        }
        let mut credentials = Credentials {
            providers: Vec::new(),
            api_keys: accepts(AuthMethod::ApiKey) && self.providers.api_keys.is_configured(),
            certificates: settings.methods.contains(&AuthMethod::ClientCertificate),
        };
        if credentials.certificates && !self.providers.asks_for_certificates {
            let message = "client certificates are accepted here, and no listener asks for one";
            self.problems.push(
                Problem::warning("auth.methods", format!("{path}.methods"), message)
                    .help("give a listener `tls.clientCertificate`"),
            );
        }
        if settings.methods.contains(&AuthMethod::ApiKey) && !credentials.api_keys {
            let message = "API keys are accepted here, and `apiKeys` has none";
            self.problems.push(Problem::error("auth.methods", format!("{path}.methods"), message));
        }
        if !accepts(AuthMethod::Jwt) {
            return credentials;
        }
        credentials.providers = if settings.providers.is_empty() {
            self.providers.iter().map(|(index, _)| index).collect()
        } else {
            self.named(&settings.providers, path)
        };
        credentials
    }

    fn named(&mut self, names: &[String], path: &str) -> Vec<ProviderIndex> {
        let mut found = Vec::with_capacity(names.len());
        for (at, name) in names.iter().enumerate() {
            let provider = self.providers.iter().find(|(_, provider)| *provider.name == **name);
            if let Some((index, _)) = provider {
                if !found.contains(&index) {
                    found.push(index);
                }
                continue;
            }
            let message = format!("there is no identity provider `{name}`");
            let known = self.providers.iter().map(|(_, provider)| &*provider.name);
            let help = Problems::did_you_mean(name, known);
            let mut problem =
                Problem::error("reference.unknown", format!("{path}.providers[{at}]"), message);
            problem.help = help;
            self.problems.push(problem);
        }
        found
    }

    /// A token is matched to a provider by its issuer, so a route cannot accept two with the
    /// same one: which of them is meant would be a guess.
    fn check_issuers(&mut self, credentials: &Credentials, path: &str) {
        let mut by_issuer = HashMap::new();
        for (index, provider) in self.providers.iter() {
            if !credentials.accepts(index) {
                continue;
            }
            if let Some(other) = by_issuer.insert(provider.issuer.as_str(), &provider.name) {
                let message = format!(
                    "the providers `{other}` and `{}` have the same issuer, and this route \
                     accepts both",
                    provider.name
                );
                let help = "name the one that is meant in `auth.providers`";
                self.problems.push(Problem::error("auth.issuer", path, message).help(help));
            }
        }
    }

    fn authorization(
        &mut self,
        written: &Authorization,
        is_open: bool,
    ) -> (Vec<RequiredScope>, Vec<Box<str>>) {
        let path = format!("{}.authorization", self.path);
        let asks = [
            ("requiredScopes", written.required_scopes.as_slice()),
            ("tenantStatus", written.tenant_status.as_slice()),
        ];
        for (key, values) in asks {
            if is_open && !values.is_empty() {
                let message = format!("`{key}` cannot be checked: the route has `auth: none`");
                let help = "write `auth: required`, or remove it";
                self.problems
                    .push(Problem::error("auth.open", format!("{path}.{key}"), message).help(help));
            }
        }
        for (at, scope) in written.required_scopes.iter().enumerate() {
            if !is_scope_token(scope) {
                let message = "a scope is visible ASCII without spaces, `\"` and `\\`";
                let path = format!("{path}.requiredScopes[{at}]");
                self.problems.push(Problem::error("auth.scope", path, message));
            }
        }
        let status = written.tenant_status.iter().map(|status| status.as_str().into()).collect();
        (required(&written.required_scopes), status)
    }
}

fn required(scopes: &[String]) -> Vec<RequiredScope> {
    let challenge = scope_challenge(scopes.iter().map(String::as_str))
        .unwrap_or_else(|| http::HeaderValue::from_static("Bearer error=\"insufficient_scope\""));
    let scope = |name: &String| RequiredScope {
        name: name.as_str().into(),
        refusal: insufficient_scope(name, &challenge),
    };
    scopes.iter().map(scope).collect()
}

/// Whether a list of texts holds one.
pub(super) fn holds(list: &[Arc<str>], wanted: &str) -> bool {
    list.iter().any(|item| **item == *wanted)
}

#[cfg(test)]
mod tests;
