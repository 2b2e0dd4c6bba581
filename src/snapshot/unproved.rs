//! Headers in which clients would say who they are, without proof: they are taken out of every
//! request before anything reads it (R031, R108, T12, T16).
//!
//! The set follows from the whole configuration, so that a public route keeps them out as well
//! as the one that made somebody configure them. What is taken out nobody can read: a key, a
//! condition or a demand that names such a header is an error, for it would be silently empty.

use std::slice;

use http::{HeaderMap, HeaderName};

use crate::auth::Providers;
use crate::edge::NameSet;
use crate::model::{Config, FieldMatch, KeyPart, MissingKey, Problem, Problems};

/// Headers that are taken out of requests before they are read.
#[derive(Debug, Default)]
pub struct Unproved {
    /// Whoever sends them: what services are told about callers.
    identity: NameSet,
    /// Where no trusted proxy sends them: what conditions believe of trusted proxies alone
    /// (`trustedOnly`).
    trusted: NameSet,
}

impl Unproved {
    /// The set of a configuration. Adds a problem for each place that could only ever read
    /// what a client says of itself.
    pub(super) fn compile(config: &Config, providers: &Providers, problems: &mut Problems) -> Self {
        let identity = NameSet::new(providers.stripped().iter().cloned());
        let mut check = Check { identity: &identity, config, problems };
        check.routes();
        check.limits();
        let conditions = config.routes.iter().flat_map(|route| &route.r#match.headers);
        let trusted = conditions
            .filter(|condition| condition.trusted_only)
            .filter_map(|condition| HeaderName::try_from(condition.name.as_str()).ok());
        Self { trusted: NameSet::new(trusted), identity }
    }

    /// The names of such headers in a request, in any spelling. `is_trusted` says whether the
    /// peer is a trusted proxy; it is asked only where that matters. Allocates only where a
    /// request carries one.
    pub fn found_in<T>(
        &self,
        headers: &HeaderMap<T>,
        is_trusted: impl FnOnce() -> bool,
    ) -> Vec<HeaderName> {
        let mut found = self.identity.found_in(headers);
        let claimed = self.trusted.found_in(headers);
        if !claimed.is_empty() && !is_trusted() {
            found.extend(claimed);
        }
        found
    }

    /// The names, for the contract with services: those that no client can send, and those that
    /// only trusted proxies can.
    #[must_use]
    pub fn names(&self) -> [Vec<&HeaderName>; 2] {
        [self.identity.iter().collect(), self.trusted.iter().collect()]
    }
}

/// Looks for places that read such a header.
struct Check<'a> {
    identity: &'a NameSet,
    config: &'a Config,
    problems: &'a mut Problems,
}

impl Check<'_> {
    fn routes(&mut self) {
        for (index, route) in self.config.routes.iter().enumerate() {
            let path = format!("routes[{index}]");
            for (at, FieldMatch { name, .. }) in route.r#match.headers.iter().enumerate() {
                self.name(name, || format!("{path}.match.headers[{at}]"));
            }
            let required = route.request_policy.require_headers.iter().flatten();
            for (at, name) in required.enumerate() {
                self.name(name, || format!("{path}.requestPolicy.requireHeaders[{at}]"));
            }
            let cached = route.policies.cache.iter().flat_map(|cache| &cache.key.headers);
            for (at, name) in cached.enumerate() {
                self.name(name, || format!("{path}.policies.cache.key.headers[{at}]"));
            }
        }
        let required = self.config.request_policy.require_headers.iter().flatten();
        for (at, name) in required.enumerate() {
            self.name(name, || format!("requestPolicy.requireHeaders[{at}]"));
        }
        let cached = self.config.policies.cache.iter().flat_map(|cache| &cache.key.headers);
        for (at, name) in cached.enumerate() {
            self.name(name, || format!("policies.cache.key.headers[{at}]"));
        }
    }

    fn limits(&mut self) {
        for (name, limit) in &self.config.rate_limits {
            self.key(&limit.key, |at| format!("rateLimits.{name}.key[{at}]"));
            if let MissingKey::Part(part) = &limit.missing_key {
                self.key(slice::from_ref(part), |_| format!("rateLimits.{name}.missingKey"));
            }
        }
        for (name, service) in &self.config.services {
            let place = |at| format!("services.{name}.loadBalancing.hashKey[{at}]");
            self.key(&service.load_balancing.hash_key, place);
        }
    }

    /// `splitKey` is not here: who compiles it warns of it.
    fn key(&mut self, parts: &[KeyPart], place: impl Fn(usize) -> String) {
        for (at, part) in parts.iter().enumerate() {
            if let KeyPart::Header(name) = part {
                self.name(name, || place(at));
            }
        }
    }

    fn name(&mut self, written: &str, place: impl FnOnce() -> String) {
        let Ok(name) = HeaderName::try_from(written) else { return };
        if !self.identity.means(&name) {
            return;
        }
        let message =
            format!("`{name}` is never there: what clients send of identity is removed unread");
        let help = match name.as_str() {
            "x-user-id" => "the verified subject is `userId` in keys, `match.claims` in routes",
            "x-tenant-id" => "the verified tenant is `tenantId` in keys, `match.tenant` in routes",
            _ => "what is verified is read by `claim:NAME` in keys, `match.claims` in routes",
        };
        self.problems.push(Problem::error("identity_header.read", place(), message).help(help));
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::model::Resolved;

    fn compile(yaml: &str) -> (Unproved, Vec<String>) {
        let config: Config = serde_yaml::from_str(yaml).unwrap();
        let providers = Providers::compile(&config, &Resolved::default(), &mut Problems::default());
        let mut problems = Problems::default();
        let unproved = Unproved::compile(&config, &providers, &mut problems);
        let lines = problems.0.iter().map(|problem| format!("{} {}", problem.code, problem.path));
        (unproved, lines.collect())
    }

    fn found(unproved: &Unproved, names: &[&str], is_trusted: bool) -> Vec<String> {
        let names = names.iter().map(|name| HeaderName::try_from(*name).unwrap());
        let headers: HeaderMap =
            names.map(|name| (name, HeaderValue::from_static("mallory"))).collect();
        let mut found: Vec<String> =
            unproved.found_in(&headers, || is_trusted).iter().map(ToString::to_string).collect();
        found.sort_unstable();
        found
    }

    const ROUTE: &str = "routes: [{name: a, upstream: {service: s}, match: {pathPrefix: /, \
                         headers: [{name: X-Verified-Plan, exact: gold, trustedOnly: true}]}}]\n";

    #[test]
    fn identity_goes_always_and_the_words_of_proxies_where_there_is_none() {
        let (unproved, problems) =
            compile(&format!("identityHeaders: {{x-dept: 'claim:dept'}}\n{ROUTE}"));
        assert_eq!(problems, [""; 0]);
        let sent =
            ["x-dept", "X_Dept", "x-user-id", "x_user_roles", "x_verified-plan", "x-other", "host"];
        let identity = ["x-dept", "x-user-id", "x_dept", "x_user_roles"];
        assert_eq!(found(&unproved, &sent, true), identity);
        assert_eq!(found(&unproved, &sent, false), [&identity[..], &["x_verified-plan"]].concat());
        assert_eq!(found(&unproved, &["host", "x-other"], false), [""; 0]);
    }

    /// R031, T12, T16: nothing is decided by what a client says of itself.
    #[test]
    fn whoever_reads_what_is_never_there_is_told() {
        let (_, problems) = compile(
            "policies: {cache: {ttl: 5m, key: {headers: [x-beta, X_Tenant_Id]}}}\n\
             requestPolicy: {requireHeaders: [x-user-id]}\n\
             rateLimits: {a: {algorithm: token_bucket, key: [userId, 'header:x-user-roles']}}\n\
             services: {s: {endpoints: [], loadBalancing: {algorithm: consistent_hash, \
             hashKey: ['header:x-user-id']}}}\n\
             routes: [{name: a, upstream: {service: s}, match: {pathPrefix: /, headers: \
             [{name: x-client-plan, exact: gold, trustedOnly: true}]}, \
             requestPolicy: {requireHeaders: [x-beta, x-user-email]}, \
             policies: {cache: {ttl: 5m, key: {headers: [x-auth-scopes]}}}}]\n",
        );
        let places = [
            "routes[0].match.headers[0]",
            "routes[0].requestPolicy.requireHeaders[1]",
            "routes[0].policies.cache.key.headers[0]",
            "requestPolicy.requireHeaders[0]",
            "policies.cache.key.headers[1]",
            "rateLimits.a.key[1]",
            "services.s.loadBalancing.hashKey[0]",
        ];
        assert_eq!(problems, places.map(|place| format!("identity_header.read {place}")));
    }
}
