//! Fetches what a configuration refers to: secrets, key files, addresses of host names.

use std::net::{IpAddr, ToSocketAddrs};

use crate::model::{Config, Endpoint, Problem, Problems, Resolved, Secret};
use crate::upstream::split_address;

/// What a reference that cannot be resolved means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The configuration is about to run: an error.
    Refused,
    /// The configuration is looked at on another machine, perhaps: a warning.
    Noted,
}

/// Fetches everything that a configuration refers to. Blocks; a host name may take as long as
/// the system's resolver does.
pub fn resolve(config: &Config, missing: Missing, problems: &mut Problems) -> Resolved {
    let mut resolver = Resolver { resolved: Resolved::default(), missing, problems };
    if let Some(redis) = &config.redis {
        resolver.secret(&redis.url, "redis.url");
    }
    for (name, provider) in &config.identity_providers {
        let path = format!("identityProviders.{name}");
        if let Some(secret) = &provider.secret {
            resolver.secret(secret, &format!("{path}.secret"));
        }
        if let Some(file) = &provider.jwks_file {
            resolver.file(file, &format!("{path}.jwksFile"));
        }
        if let Some(file) = &provider.public_key_file {
            resolver.file(file, &format!("{path}.publicKeyFile"));
        }
    }
    for (index, key) in config.api_keys.iter().enumerate() {
        resolver.secret(&key.key, &format!("apiKeys[{index}].key"));
    }
    for (name, service) in &config.services {
        resolver.endpoints(&service.endpoints, &format!("services.{name}"));
        for (index, version) in service.versions.iter().enumerate() {
            let path = format!("services.{name}.versions[{index}]");
            resolver.endpoints(&version.endpoints, &path);
        }
    }
    resolver.resolved
}

struct Resolver<'a> {
    resolved: Resolved,
    missing: Missing,
    problems: &'a mut Problems,
}

impl Resolver<'_> {
    fn secret(&mut self, secret: &Secret, path: &str) {
        let value = match secret {
            Secret::Literal(text) => Ok(text.clone()),
            Secret::Env(name) => std::env::var(name)
                .map_err(|_| format!("the environment variable `{name}` is not set")),
            Secret::File(file) => std::fs::read_to_string(file)
                .map(|text| text.trim_end_matches(['\r', '\n']).to_owned())
                .map_err(|error| format!("the file `{file}` cannot be read: {error}")),
        };
        match value {
            Ok(text) if text.is_empty() => self.report(path, "the secret is empty".to_owned()),
            Ok(text) => {
                self.resolved.secrets.insert(secret.clone(), text);
            }
            Err(why) => self.report(path, why),
        }
    }

    fn file(&mut self, file: &str, path: &str) {
        match std::fs::read(file) {
            Ok(bytes) => {
                self.resolved.files.insert(file.to_owned(), bytes);
            }
            Err(error) => self.report(path, format!("the file `{file}` cannot be read: {error}")),
        }
    }

    fn endpoints(&mut self, endpoints: &[Endpoint], path: &str) {
        for (index, endpoint) in endpoints.iter().enumerate() {
            // An address that cannot be read is reported when the service is compiled.
            let Ok((host, _)) = split_address(&endpoint.address) else { continue };
            if host.parse::<IpAddr>().is_ok() || self.resolved.hosts.contains_key(host) {
                continue;
            }
            match look_up(host) {
                Ok(addresses) => {
                    self.resolved.hosts.insert(host.to_owned(), addresses);
                }
                Err(why) => {
                    let place = format!("{path}.endpoints[{index}].address");
                    self.report(&place, format!("the host `{host}` has no address: {why}"));
                }
            }
        }
    }

    fn report(&mut self, path: &str, what: String) {
        let problem = match self.missing {
            Missing::Refused => Problem::error("reference.unresolved", path, what),
            Missing::Noted => Problem::warning("reference.unresolved", path, what),
        };
        self.problems.push(problem);
    }
}

fn look_up(host: &str) -> Result<Vec<IpAddr>, String> {
    let found = (host, 0).to_socket_addrs().map_err(|error| error.to_string())?;
    let mut addresses: Vec<IpAddr> = found.map(|address| address.ip()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.is_empty() { Err("the answer is empty".to_owned()) } else { Ok(addresses) }
}
