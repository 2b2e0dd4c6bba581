//! Asks the DNS: A and AAAA records, or SRV records and the addresses of their targets.
//!
//! The resolver is hickory's; it goes over to TCP where an answer was cut short. It is built for
//! each look-up, so that changes of `/etc/resolv.conf` and `/etc/hosts` are seen, and keeps no
//! answers: when to ask again is the feed's decision.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{Hosts, TokioResolver};
use tokio::task::JoinSet;

use super::answer::{Answer, Hint, INSTANCES_MAX, Place, in_one_line};
use crate::model::DnsRecord;

/// A name, the records that are looked up, and the server that is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Question {
    name: Name,
    /// As it was configured.
    text: Arc<str>,
    record: DnsRecord,
    server: Option<SocketAddr>,
}

/// Addresses and how long they are good for, in seconds; none where there is none.
type Addresses = Result<(Vec<IpAddr>, u32), NetError>;

impl Question {
    /// A question to a certain name server, or to the system's.
    ///
    /// # Errors
    /// Why the name is none.
    pub(super) fn new(
        name: &str,
        record: DnsRecord,
        server: Option<SocketAddr>,
    ) -> Result<Self, String> {
        if name.is_empty() || name.parse::<IpAddr>().is_ok() {
            return Err(format!("`{name}` is not a name that can be looked up"));
        }
        let mut parsed = Name::from_ascii(name)
            .map_err(|_| format!("`{name}` is not a name that can be looked up"))?;
        if server.is_some() {
            // The search list belongs to the system's servers.
            parsed.set_fqdn(true);
        }
        Ok(Self { name: parsed, text: name.trim_end_matches('.').into(), record, server })
    }

    /// Asks once.
    pub(super) async fn ask(&self, limit: Duration) -> Answer {
        let resolver = match self.resolver(limit) {
            Ok(resolver) => resolver,
            Err(error) => return Answer::failed(in_one_line(&error)),
        };
        let found = async {
            match self.record {
                DnsRecord::A => self.addresses(&resolver).await,
                DnsRecord::Srv => self.services(&resolver).await,
            }
        };
        match tokio::time::timeout(limit, found).await {
            Ok(Ok((places, _))) if places.len() > INSTANCES_MAX => {
                Answer::failed(format!("more than {INSTANCES_MAX} records"))
            }
            Ok(Ok((places, ttl))) => Answer {
                hint: ttl.map_or(Hint::None, |s| Hint::Ttl(Duration::from_secs(s.into()))),
                places: Ok(places),
            },
            Ok(Err(error)) => Answer::failed(in_one_line(&error)),
            Err(_) => Answer::failed(format!("no answer within {limit:?}")),
        }
    }

    fn resolver(&self, limit: Duration) -> Result<TokioResolver, NetError> {
        let mut builder = match self.server {
            None => TokioResolver::builder_tokio()?,
            Some(server) => {
                let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
                let connections = connections.map(|mut connection| {
                    connection.port = server.port();
                    connection
                });
                let server = NameServerConfig::new(server.ip(), true, connections.into());
                let config = ResolverConfig::from_name_servers(vec![server]);
                let provider = TokioRuntimeProvider::default();
                TokioResolver::builder_with_config(config, provider)
                    .with_options(ResolverOpts::default())
            }
        };
        let options = builder.options_mut();
        options.cache_size = 0;
        // A packet that got lost is sent again within the limit.
        options.timeout = limit / 2;
        options.attempts = 1;
        options.use_hosts_file = ResolveHosts::Never;
        builder.build()
    }

    async fn addresses(
        &self,
        resolver: &TokioResolver,
    ) -> Result<(Vec<Place>, Option<u32>), NetError> {
        let hosts = if self.server.is_none() { in_hosts_file(&self.name) } else { Vec::new() };
        let (found, ttl) = if hosts.is_empty() {
            addresses_of(resolver, &self.name).await?
        } else {
            (hosts, u32::MAX)
        };
        let place = |ip| Place { ip, port: None, host: Arc::clone(&self.text), weight: 1 };
        let ttl = (!found.is_empty()).then_some(ttl);
        Ok((found.into_iter().map(place).collect(), ttl))
    }

    async fn services(
        &self,
        resolver: &TokioResolver,
    ) -> Result<(Vec<Place>, Option<u32>), NetError> {
        let Some(lookup) = or_none(resolver.srv_lookup(self.name.clone()).await)? else {
            return Ok((Vec::new(), None));
        };
        let mut ttl = ttl_of(&lookup);
        let targets = targets(lookup.answers().iter().filter_map(|record| match &record.data {
            RData::SRV(srv) => Some(Target {
                priority: srv.priority,
                weight: srv.weight.into(),
                port: srv.port,
                name: srv.target.clone(),
            }),
            _ => None,
        }));
        let mut tasks = JoinSet::new();
        for target in targets.into_iter().take(INSTANCES_MAX) {
            let resolver = resolver.clone();
            tasks.spawn(async move { (addresses_of(&resolver, &target.name).await, target) });
        }
        let mut places = Vec::new();
        while let Some(done) = tasks.join_next().await {
            let (found, target) =
                done.map_err(|_| NetError::Message("a look-up ended by a defect"))?;
            // One target that cannot be had would silently lose its share: all or nothing.
            let (found, target_ttl) = found?;
            ttl = ttl.min(target_ttl);
            let host: Arc<str> = target.name.to_string().trim_end_matches('.').into();
            places.extend(found.into_iter().map(|ip| Place {
                ip,
                port: Some(target.port),
                host: Arc::clone(&host),
                weight: target.weight,
            }));
        }
        let ttl = (!places.is_empty()).then_some(ttl);
        Ok((places, ttl))
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.record {
            DnsRecord::A => "dns",
            DnsRecord::Srv => "srv",
        };
        write!(f, "{kind}:{}", self.text)
    }
}

/// Addresses of a name in the system's hosts file, which goes before the DNS.
fn in_hosts_file(name: &Name) -> Vec<IpAddr> {
    let Ok(hosts) = Hosts::from_system() else { return Vec::new() };
    let look = |kind| hosts.lookup_static_host(&Query::query(name.clone(), kind));
    [RecordType::A, RecordType::AAAA]
        .into_iter()
        .filter_map(look)
        .flat_map(|lookup| ips(&lookup))
        .collect()
}

/// A and AAAA records, asked for together. A name without either has no addresses; where one
/// question fails and the other finds something, that counts: some servers fail every question
/// for AAAA.
async fn addresses_of(resolver: &TokioResolver, name: &Name) -> Addresses {
    let (v4, v6) =
        tokio::join!(resolver.ipv4_lookup(name.clone()), resolver.ipv6_lookup(name.clone()));
    merge(or_none(v4), or_none(v6))
}

fn merge(v4: Result<Option<Lookup>, NetError>, v6: Result<Option<Lookup>, NetError>) -> Addresses {
    let (v4, v6) = match (v4, v6) {
        (Err(error), Err(_) | Ok(None)) | (Ok(None), Err(error)) => return Err(error),
        (v4, v6) => (v4.ok().flatten(), v6.ok().flatten()),
    };
    let ttl = [&v4, &v6].into_iter().flatten().map(ttl_of).min().unwrap_or(0);
    Ok(([&v4, &v6].into_iter().flatten().flat_map(ips).collect(), ttl))
}

/// A name that does not exist, or has no such records, is an answer. Everything else is none.
fn or_none(result: Result<Lookup, NetError>) -> Result<Option<Lookup>, NetError> {
    match result {
        Ok(lookup) => Ok(Some(lookup)),
        Err(error) if error.is_no_records_found() => Ok(None),
        Err(error) => Err(error),
    }
}

fn ips(lookup: &Lookup) -> Vec<IpAddr> {
    lookup.answers().iter().filter_map(|record| record.data.ip_addr()).collect()
}

fn ttl_of(lookup: &Lookup) -> u32 {
    lookup.answers().iter().map(|record| record.ttl).min().unwrap_or(0)
}

/// A target of SRV records.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    priority: u16,
    weight: u32,
    port: u16,
    name: Name,
}

/// The targets that are used: those of the lowest priority number (RFC 2782), without the root,
/// which says that the service is not to be had, and without port 0. Weights that are all 0 say
/// that there is nothing to choose by.
fn targets(records: impl Iterator<Item = Target>) -> Vec<Target> {
    let mut targets: Vec<Target> =
        records.filter(|target| !target.name.is_root() && target.port != 0).collect();
    let first = targets.iter().map(|target| target.priority).min();
    targets.retain(|target| Some(target.priority) == first);
    if targets.iter().all(|target| target.weight == 0) {
        for target in &mut targets {
            target.weight = 1;
        }
    }
    targets
}

#[cfg(test)]
mod tests;
