//! What a route asks of its callers, compiled.

use std::collections::HashMap;
use std::sync::Arc;

use super::address::Networks;
use super::credentials::{Credentials, Kind};
use super::demands::{Demands, Product};
use super::jwt::provider::Provider;
use super::{ProviderIndex, Providers};
use crate::model::{
    self, Auth, AuthMethod, AuthSettings, Authorization, MethodAuthorization, Policies, Problem,
    Problems,
};

/// What a route asks of its callers.
#[derive(Debug)]
pub struct AuthPolicy {
    credentials: Option<Credentials>,
    /// Where clients may come from; none where that does not matter.
    pub(super) networks: Option<Networks>,
    /// What the caller must be allowed to do.
    pub(super) demands: Demands,
    /// The product that the caller must be allowed to use.
    pub(super) product: Option<Product>,
    /// Statuses of the tenant that are let through; empty means any, and callers without.
    pub(super) tenant_status: Vec<Box<str>>,
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
        let mut policy = Self {
            credentials,
            networks: None,
            demands: Demands::default(),
            product: None,
            tenant_status: Vec::new(),
        };
        if let Some(written) = &policies.authorization {
            if let Some(credentials) = &policy.credentials {
                compile.check_reachable(credentials, &written.required_scopes);
            }
            let path = format!("{path}.authorization");
            if matches!(policies.auth, Some(Auth::None)) {
                check_open(written, &path, problems);
            }
            let product = written.product.as_deref();
            policy.networks = Networks::compile(written, &path, problems);
            policy.demands = Demands::compile(written, &path, problems);
            policy.product = product.map(|name| Product::compile(name, &path, problems));
            policy.tenant_status =
                written.tenant_status.iter().map(|status| status.as_str().into()).collect();
        }
        policy
    }

    /// Adds a problem for every method of `authorization.methods` that the route never sees.
    /// `taken` are the methods that it takes, any where there are none; `path` is that of the
    /// policies.
    pub fn check_methods(&self, taken: &[model::Method], path: &str, problems: &mut Problems) {
        self.demands.check_taken(taken, &format!("{path}.authorization"), problems);
    }

    /// Whether callers must prove who they are.
    #[must_use]
    pub const fn is_required(&self) -> bool {
        self.credentials.is_some()
    }

    /// Whether callers may prove who they are by a signature on the request.
    #[must_use]
    pub fn takes_signatures(&self) -> bool {
        self.credentials.as_ref().is_some_and(|credentials| credentials.signatures)
    }

    /// Whether callers may prove who they are by an API key.
    #[must_use]
    pub fn accepts_api_keys(&self) -> bool {
        self.credentials.as_ref().is_some_and(|credentials| credentials.api_keys)
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
        let nobody = Credentials::nobody();
        let credentials = match auth {
            Some(Auth::None) => return None,
            Some(Auth::Required) => Credentials {
                providers: self.of_all(Provider::has_keys),
                introspected: self.of_all(|provider| provider.introspection.is_some()),
                api_keys: self.providers.api_keys.is_configured(),
                ..Credentials::nobody()
            }
            .searched(&Kind::USUAL),
            Some(Auth::Settings(settings)) => self.settings(settings, &path),
            None => {
                let message = "the route does not say whether callers must prove who they are";
                let help = "write `auth: required` or `auth: none`";
                self.problems.push(Problem::error("auth.missing", path, message).help(help));
                return Some(nobody);
            }
        };
        if credentials.order.is_empty() {
            let message = "nobody could pass: there is no identity provider and no API key that \
                           this route accepts";
            let help = "add `identityProviders` or `apiKeys`, or write `auth: none`";
            self.problems.push(Problem::error("auth.nobody", path, message).help(help));
            return Some(nobody);
        }
        self.check_issuers(&credentials, &path);
        self.check_introspected(&credentials, &path);
        Some(credentials)
    }

    fn settings(&mut self, settings: &AuthSettings, path: &str) -> Credentials {
        let accepts = |method| settings.any_of.is_empty() || settings.any_of.contains(&method);
        let takes_tokens = accepts(AuthMethod::Jwt) || accepts(AuthMethod::Introspection);
        if !settings.providers.is_empty() && !takes_tokens {
            let message = "`providers` has no effect without `jwt` or `introspection` in `anyOf`";
            self.problems.push(Problem::error(
                "auth.providers",
                format!("{path}.providers"),
                message,
            ));
        }
        let mut credentials = Credentials {
            providers: Vec::new(),
            api_keys: accepts(AuthMethod::ApiKey) && self.providers.api_keys.is_configured(),
            signatures: settings.any_of.contains(&AuthMethod::Signature)
                && self.providers.signers.is_configured(),
            certificates: settings.any_of.contains(&AuthMethod::ClientCertificate),
            failure_mode: settings.failure_mode,
            ..Credentials::nobody()
        };
        let methods =
            if settings.any_of.is_empty() { &Kind::USUAL[..] } else { &settings.any_of[..] };
        if credentials.certificates && !self.providers.asks_for_certificates {
            let message = "client certificates are accepted here, and no listener asks for one";
            self.problems.push(
                Problem::warning("auth.methods", format!("{path}.anyOf"), message)
                    .help("give a listener `tls.clientCertificate`"),
            );
        }
        if settings.any_of.contains(&AuthMethod::ApiKey) && !credentials.api_keys {
            let message =
                "API keys are accepted here, and there are no `apiKeys` and no `database`";
            self.problems.push(Problem::error("auth.methods", format!("{path}.anyOf"), message));
        }
        if settings.any_of.contains(&AuthMethod::Signature) && !credentials.signatures {
            let message = "signatures are accepted here, and `signers` has nobody who signs";
            self.problems.push(Problem::error("auth.methods", format!("{path}.anyOf"), message));
        }
        if !takes_tokens {
            return credentials.searched(methods);
        }
        let chosen = if settings.providers.is_empty() {
            self.of_all(|_| true)
        } else {
            self.named(&settings.providers, path)
        };
        if accepts(AuthMethod::Jwt) {
            credentials.providers = self.of(&chosen, Provider::has_keys);
        }
        if accepts(AuthMethod::Introspection) {
            credentials.introspected =
                self.of(&chosen, |provider| provider.introspection.is_some());
        }
        if settings.any_of.contains(&AuthMethod::Introspection)
            && credentials.introspected.is_empty()
        {
            let message = "issuers are asked about tokens here, and no provider that this route \
                           accepts has `introspection`";
            self.problems.push(Problem::error("auth.methods", format!("{path}.anyOf"), message));
        }
        credentials.searched(methods)
    }

    /// The providers with this property.
    fn of_all(&self, is_one: impl Fn(&Provider) -> bool) -> Vec<ProviderIndex> {
        let all = self.providers.iter().filter(|(_, provider)| is_one(provider));
        all.map(|(index, _)| index).collect()
    }

    /// Those of these providers with this property.
    fn of(
        &self,
        these: &[ProviderIndex],
        is_one: impl Fn(&Provider) -> bool,
    ) -> Vec<ProviderIndex> {
        let has = |index: &ProviderIndex| self.providers.get(*index).is_some_and(&is_one);
        these.iter().copied().filter(has).collect()
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
            if !credentials.accepts(index) && !credentials.introspected.contains(&index) {
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

    /// A token that says nothing by itself cannot say which issuer to ask, and sending it to
    /// several would show it to issuers that it is none of the business of.
    fn check_introspected(&mut self, credentials: &Credentials, path: &str) {
        let names: Vec<String> = credentials
            .introspected
            .iter()
            .filter_map(|index| Some(format!("`{}`", self.providers.name(*index)?)))
            .collect();
        if names.len() > 1 {
            let message = format!(
                "this route accepts more than one provider with `introspection` ({}): which of \
                 them to ask about a token would be a guess",
                names.join(", ")
            );
            let help = "name the one that is meant in `auth.providers`";
            self.problems.push(Problem::error("auth.introspection", path, message).help(help));
        }
    }

    /// Certificates carry no scopes; only `clientCertificates.callers` gives them some.
    fn check_reachable(&mut self, credentials: &Credentials, scopes: &[String]) {
        if credentials.order != [Kind::Certificate] {
            return;
        }
        for (at, scope) in scopes.iter().enumerate() {
            if self.providers.certificates.grants(scope) {
                continue;
            }
            let message = format!(
                "only client certificates are accepted here, and nobody in \
                 `clientCertificates.callers` has the scope `{scope}`"
            );
            let path = format!("{}.authorization.requiredScopes[{at}]", self.path);
            self.problems.push(Problem::warning("auth.unreachable", path, message));
        }
    }
}

/// What needs a caller cannot be checked where nobody is asked for.
fn check_open(written: &Authorization, path: &str, problems: &mut Problems) {
    let methods =
        written.methods.iter().filter(|(_, more)| **more != MethodAuthorization::default());
    let asks = [
        ("requiredScopes".to_owned(), !written.required_scopes.is_empty()),
        ("anyScope".to_owned(), written.any_scope.is_some()),
        ("requiredRoles".to_owned(), !written.required_roles.is_empty()),
        ("anyRole".to_owned(), written.any_role.is_some()),
        ("tenantStatus".to_owned(), !written.tenant_status.is_empty()),
        ("product".to_owned(), written.product.is_some()),
    ];
    let methods = methods.map(|(name, _)| (format!("methods.{name}"), true));
    for (key, is_asked) in asks.into_iter().chain(methods) {
        if is_asked {
            let message = format!("`{key}` cannot be checked: the route has `auth: none`");
            let help = "write `auth: required`, or remove it";
            problems.push(Problem::error("auth.open", format!("{path}.{key}"), message).help(help));
        }
    }
}

/// Whether a list of texts holds one.
pub(super) fn holds(list: &[Arc<str>], wanted: &str) -> bool {
    list.iter().any(|item| **item == *wanted)
}

#[cfg(test)]
mod tests;
