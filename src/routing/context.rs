//! What the conditions of all routes are compiled with, and compiling them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Condition;
use super::caller::{CredentialSet, CredentialSets};
use super::demand::INVALID;
use super::geo::{Geo, Place};
use super::tenant::TenantHosts;
use crate::model::{
    Auth, Config, FieldMatch, Policies, Problem, Problems, Resolved, Route, Tenant,
};

/// What the conditions of all routes of a configuration share.
pub(super) struct Context<'a> {
    defaults: &'a Policies,
    tenants: &'a BTreeMap<String, Tenant>,
    hosts: Arc<TenantHosts>,
    sets: CredentialSets,
    names_database: bool,
    geo: Option<Arc<Geo>>,
}

impl<'a> Context<'a> {
    /// Compiles what is shared: the hosts of tenants, the database of countries.
    pub(super) fn new(config: &'a Config, resolved: &Resolved, problems: &mut Problems) -> Self {
        Self {
            defaults: &config.policies,
            tenants: &config.tenants,
            hosts: Arc::new(TenantHosts::compile(&config.tenants, problems)),
            sets: CredentialSets::default(),
            names_database: config.geo.is_some(),
            geo: Geo::compile(config, resolved, problems),
        }
    }

    /// The credentials that a route accepts; none where it is open.
    pub(super) fn credentials(&mut self, route: &'a Route) -> Option<CredentialSet> {
        self.sets.of(self.auth(route))
    }

    fn auth(&self, route: &'a Route) -> Option<&'a Auth> {
        route.policies.auth.as_ref().or(self.defaults.auth.as_ref())
    }

    /// Compiles the conditions of a route, those on the request before those on the caller;
    /// problems carry `place`, that of the match. None where a problem is found.
    pub(super) fn conditions(
        &self,
        route: &Route,
        credentials: Option<CredentialSet>,
        place: &str,
        problems: &mut Problems,
    ) -> Option<Vec<Condition>> {
        let model = &route.r#match;
        let mut all: Vec<Option<Condition>> = Vec::new();
        for (at, field) in model.headers.iter().enumerate() {
            all.push(Condition::header(field, &format!("{place}.headers[{at}]"), problems));
        }
        for (at, field) in model.query.iter().enumerate() {
            let place = format!("{place}.query[{at}]");
            not_trusted_only(field, &place, problems);
            all.push(Condition::query(field, &place, problems));
        }
        if let Some(version) = &model.accept_version {
            all.push(Condition::version(version, &format!("{place}.acceptVersion"), problems));
        }
        if let Some(region) = &model.region {
            all.push(self.region(&region.0, &format!("{place}.region"), problems));
        }
        if let Some(tenant) = &model.tenant {
            all.push(self.tenant(&tenant.0, credentials, &format!("{place}.tenant"), problems));
        }
        for (at, field) in model.claims.iter().enumerate() {
            let place = format!("{place}.claims[{at}]");
            not_trusted_only(field, &place, problems);
            let Some(set) = credentials else {
                let message = "`auth: none` proves nobody, so no caller has claims";
                problems.push(
                    Problem::error("route.caller_unknown", place, message)
                        .help("write `auth: required`, or match what the request says itself"),
                );
                all.push(None);
                continue;
            };
            all.push(Condition::claim(field, set, &place, problems));
        }
        all.into_iter().collect()
    }

    fn region(&self, words: &[String], place: &str, problems: &mut Problems) -> Option<Condition> {
        const CODE: &str = "route.region_invalid";
        if words.is_empty() {
            problems.push(Problem::error(CODE, place, "the list of regions is empty"));
            return None;
        }
        let mut places = Vec::with_capacity(words.len());
        for (at, word) in words.iter().enumerate() {
            match Place::read(word) {
                Ok(read) => places.push(read),
                Err(help) => {
                    let message = format!("`{word}` is not a region");
                    let place = item_place(place, at, words.len());
                    problems.push(Problem::error(CODE, place, message).help(help));
                }
            }
        }
        if !self.names_database {
            let message = "nothing tells where clients are";
            problems.push(
                Problem::error("geo.missing", place, message)
                    .help("name a database of countries: `geo: {database: /path/to/file.mmdb}`"),
            );
            return None;
        }
        (places.len() == words.len()).then(|| Condition::region(places, self.geo.clone()))
    }

    fn tenant(
        &self,
        names: &[String],
        credentials: Option<CredentialSet>,
        place: &str,
        problems: &mut Problems,
    ) -> Option<Condition> {
        if names.is_empty() {
            problems.push(Problem::error(INVALID, place, "the list of tenants is empty"));
            return None;
        }
        let known: Vec<&Tenant> =
            names.iter().filter_map(|name| self.tenants.get(name.as_str())).collect();
        if known.len() < names.len() {
            self.report_unknown(names, place, problems);
            return None;
        }
        if credentials.is_none() && known.iter().all(|tenant| tenant.hosts.is_empty()) {
            let message = "`auth: none` proves nobody, and no host tells the tenant";
            problems.push(Problem::error("route.caller_unknown", place, message).help(
                "write `auth: required`, or list the hosts of the tenant in `tenants.*.hosts`",
            ));
            return None;
        }
        let names = names.iter().map(|name| name.as_str().into()).collect();
        Some(Condition::tenant(names, credentials, Arc::clone(&self.hosts)))
    }

    fn report_unknown(&self, names: &[String], place: &str, problems: &mut Problems) {
        let unknown = |(_, name): &(usize, &String)| !self.tenants.contains_key(name.as_str());
        for (at, name) in names.iter().enumerate().filter(unknown) {
            let message = format!("there is no tenant `{name}`");
            let place = item_place(place, at, names.len());
            let known = self.tenants.keys().map(String::as_str);
            let help = Problems::did_you_mean(name, known)
                .unwrap_or_else(|| format!("add `tenants: {{{name}: {{status: ACTIVE}}}}`"));
            problems.push(Problem::error("reference.unknown", place, message).help(help));
        }
    }
}

/// Where an item stands: a list of one may be written without brackets.
fn item_place(place: &str, at: usize, items: usize) -> String {
    if items == 1 { place.to_owned() } else { format!("{place}[{at}]") }
}

fn not_trusted_only(field: &FieldMatch, place: &str, problems: &mut Problems) {
    if field.trusted_only {
        let place = format!("{place}.trustedOnly");
        let message = "only headers come from trusted proxies";
        problems.push(Problem::error(INVALID, place, message).help("leave `trustedOnly` out"));
    }
}

#[cfg(test)]
mod tests;
