//! Tenants by host: `tenants.*.hosts`, for requests whose caller is not verified (R033).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::hash::NameMap;
use crate::edge::{Identity, RequestView, read_host_port};
use crate::model::{Problem, Problems, Tenant};

/// Which tenant a host belongs to.
#[derive(Debug, Default)]
pub(super) struct TenantHosts(NameMap<Arc<str>>);

impl TenantHosts {
    /// Compiles the hosts of all tenants.
    pub(super) fn compile(tenants: &BTreeMap<String, Tenant>, problems: &mut Problems) -> Self {
        let mut hosts: NameMap<Arc<str>> = NameMap::default();
        for (name, tenant) in tenants {
            let id: Arc<str> = name.as_str().into();
            for (at, text) in tenant.hosts.iter().enumerate() {
                let place = format!("tenants.{name}.hosts[{at}]");
                let host = match read_host_port(text) {
                    Ok(read) if read.port.is_none() => Box::from(&*read.host),
                    Ok(_) => {
                        problems.push(invalid(place, text, "it has a port"));
                        continue;
                    }
                    Err(why) => {
                        problems.push(invalid(place, text, why.0));
                        continue;
                    }
                };
                if let Some(other) = hosts.insert(host, Arc::clone(&id)) {
                    let message = if *other == *id {
                        format!("the host `{text}` is listed twice")
                    } else {
                        format!("the host `{text}` belongs to the tenant `{other}` already")
                    };
                    problems.push(Problem::error("tenant.host_duplicate", place, message));
                }
            }
        }
        Self(hosts)
    }

    /// The tenant of a host in normal form.
    pub(super) fn tenant(&self, host: &str) -> Option<&str> {
        self.0.get(host).map(|tenant| &**tenant)
    }

    /// What a route for these tenants makes of a request. It counts for the tenant of its
    /// caller; where there is no caller, or the caller has no tenant, for that of its host.
    pub(super) fn judge(
        &self,
        wanted: &[Arc<str>],
        view: &RequestView<'_>,
        caller: Option<&Identity>,
    ) -> Fit {
        let wants = |tenant: &str| wanted.iter().any(|wanted| **wanted == *tenant);
        let is_wanted = |tenant: Option<&str>| tenant.is_some_and(wants);
        let own = caller.and_then(|caller| caller.tenant_id.as_deref());
        match (own, self.tenant(&view.host)) {
            (Some(own), Some(host)) if own != host => {
                if wants(own) || wants(host) {
                    Fit::Foreign
                } else {
                    Fit::No
                }
            }
            (own, host) if is_wanted(own.or(host)) => Fit::Yes,
            _ => Fit::No,
        }
    }
}

/// How a request suits a route for some tenants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// It is of one of them.
    Yes,
    /// It is not.
    No,
    /// Its caller is of one tenant and its host of another, and the route is for one of the two:
    /// nobody is served at the door of somebody else.
    Foreign,
}

fn invalid(place: String, text: &str, why: &str) -> Problem {
    Problem::error("tenant.host_invalid", place, format!("`{text}` is not a host: {why}"))
        .help("write a whole host name without port, as in `acme.example.com`")
}
