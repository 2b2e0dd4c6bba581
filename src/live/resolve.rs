//! Fetches what a configuration refers to: secrets and files.
//!
//! Host names of endpoints are looked up by `upstream::discovery` while the gateway runs. Only
//! whoever just looks at a configuration has them looked up here, to say which have no address.

use std::ffi::OsString;
use std::net::{IpAddr, ToSocketAddrs};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::clock;
use crate::model::{
    Config, Discovery, Endpoint, IdentityProvider, Listener, Problem, Problems, Redis, Resolved,
    Secret, Service,
};
use crate::upstream::split_address;

/// What a reference that cannot be resolved means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The configuration is about to run: an error.
    Refused,
    /// The configuration is looked at on another machine, perhaps: a warning.
    Noted,
}

/// Fetches everything that a configuration refers to. Blocks: where the configuration is only
/// looked at, a host name may take as long as the system's resolver does.
pub fn resolve(config: &Config, missing: Missing, problems: &mut Problems) -> Resolved {
    let unix_seconds = Some(clock::now().unix_seconds());
    let mut resolver =
        Resolver { resolved: Resolved { unix_seconds, ..Resolved::default() }, missing, problems };
    for (index, listener) in config.listeners.iter().enumerate() {
        resolver.listener(listener, &format!("listeners[{index}].tls"));
    }
    if let Some(redis) = &config.redis {
        resolver.redis(redis);
    }
    if let Some(geo) = &config.geo {
        resolver.file(&geo.database, "geo.database");
    }
    resolver.callers(config);
    for (name, service) in &config.services {
        let path = format!("services.{name}");
        resolver.service(service, &format!("{path}.tls"));
        resolver.place(&service.endpoints, service.discovery.as_ref(), &path);
        for (index, version) in service.versions.iter().enumerate() {
            let path = format!("{path}.versions[{index}]");
            resolver.place(&version.endpoints, version.discovery.as_ref(), &path);
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
            Secret::File(file) => read_secret(Path::new(file))
                .map_err(|error| format!("the file `{file}` cannot be read: {error}")),
            Secret::Credential(name) => credential(name, std::env::var_os(CREDENTIALS)),
        };
        match value {
            Ok(text) if text.is_empty() => self.report(path, "the secret is empty".to_owned()),
            Ok(text) => {
                self.resolved.secrets.insert(secret.clone(), text);
            }
            Err(why) => self.report(path, why),
        }
    }

    fn redis(&mut self, redis: &Redis) {
        let sentinel = redis.sentinel.as_ref();
        let secrets = [
            (redis.url.as_ref(), "url"),
            (redis.username.as_ref(), "username"),
            (redis.password.as_ref(), "password"),
            (sentinel.and_then(|s| s.username.as_ref()), "sentinel.username"),
            (sentinel.and_then(|s| s.password.as_ref()), "sentinel.password"),
        ];
        for (secret, key) in secrets {
            if let Some(secret) = secret {
                self.secret(secret, &format!("redis.{key}"));
            }
        }
        let Some(tls) = &redis.tls else { return };
        let files =
            [(&tls.ca_file, "caFile"), (&tls.cert_file, "certFile"), (&tls.key_file, "keyFile")];
        for (file, key) in files {
            if let Some(file) = file {
                self.file(file, &format!("redis.tls.{key}"));
            }
        }
    }

    fn listener(&mut self, listener: &Listener, path: &str) {
        let Some(tls) = &listener.tls else { return };
        for (index, certificate) in tls.certificates.iter().enumerate() {
            let path = format!("{path}.certificates[{index}]");
            self.file(&certificate.cert_file, &format!("{path}.certFile"));
            self.file(&certificate.key_file, &format!("{path}.keyFile"));
        }
        if let Some(client) = &tls.client_certificate {
            self.file(&client.ca_file, &format!("{path}.clientCertificate.caFile"));
        }
    }

    /// What decides who callers are.
    fn callers(&mut self, config: &Config) {
        if let Some(token) = &config.admin.token {
            self.secret(token, "admin.token");
        }
        for (name, provider) in &config.identity_providers {
            self.provider(provider, &format!("identityProviders.{name}"));
        }
        for (index, key) in config.api_keys.iter().enumerate() {
            self.secret(&key.key, &format!("apiKeys[{index}].key"));
        }
        if let Some(database) = &config.database {
            self.secret(&database.url, "database.url");
            self.secret(&database.hash_key, "database.hashKey");
            self.files([("caFile", &database.ca_file)], "database");
        }
        for (name, signer) in &config.signers {
            let path = format!("signers.{name}");
            self.secrets([("secret", &signer.secret)], &path);
            self.files([("publicKeyFile", &signer.public_key_file)], &path);
        }
        for (index, key) in config.identity_signature.iter().flat_map(|s| &s.keys).enumerate() {
            self.secret(&key.secret, &format!("identitySignature.keys[{index}].secret"));
        }
    }

    fn provider(&mut self, provider: &IdentityProvider, path: &str) {
        self.secrets([("secret", &provider.secret)], path);
        self.files(
            [
                ("jwksFile", &provider.jwks_file),
                ("publicKeyFile", &provider.public_key_file),
                ("developmentKeyFile", &provider.development_key_file),
                ("jwks.caFile", &provider.jwks.ca_file),
            ],
            path,
        );
        if let Some(introspection) = &provider.introspection {
            let path = format!("{path}.introspection");
            self.secret(&introspection.client_secret, &format!("{path}.clientSecret"));
            self.files([("caFile", &introspection.ca_file)], &path);
        }
    }

    /// The secrets that are given, by the keys below `path`.
    fn secrets<const N: usize>(&mut self, secrets: [(&str, &Option<Secret>); N], path: &str) {
        for (key, secret) in secrets {
            if let Some(secret) = secret {
                self.secret(secret, &format!("{path}.{key}"));
            }
        }
    }

    /// The files that are named, by the keys below `path`.
    fn files<const N: usize>(&mut self, files: [(&str, &Option<String>); N], path: &str) {
        for (key, file) in files {
            if let Some(file) = file {
                self.file(file, &format!("{path}.{key}"));
            }
        }
    }

    fn service(&mut self, service: &Service, path: &str) {
        let Some(tls) = &service.tls else { return };
        let files =
            [("caFile", &tls.ca_file), ("certFile", &tls.cert_file), ("keyFile", &tls.key_file)];
        self.files(files, path);
    }

    /// A file is read once, however often it is named: what is compiled is of one piece.
    fn file(&mut self, file: &str, path: &str) {
        self.resolved.wanted.insert(file.to_owned());
        if self.resolved.files.contains_key(file) {
            return;
        }
        match std::fs::read(file) {
            Ok(bytes) => {
                let digest = Sha256::digest(&bytes).into();
                self.resolved.digests.insert(file.to_owned(), digest);
                self.resolved.files.insert(file.to_owned(), bytes);
            }
            Err(error) => self.report(path, format!("the file `{file}` cannot be read: {error}")),
        }
    }

    /// What says where endpoints are.
    fn place(&mut self, endpoints: &[Endpoint], discovery: Option<&Discovery>, path: &str) {
        let consul = discovery.and_then(|discovery| discovery.consul.as_ref());
        if let Some(token) = consul.and_then(|consul| consul.token.as_ref()) {
            self.secret(token, &format!("{path}.discovery.consul.token"));
        }
        if self.missing == Missing::Noted {
            self.endpoints(endpoints, path);
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

/// Where the service manager puts what it hands over (`systemd.exec(5)`, `LoadCredential=`).
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// What the service manager handed over under a name; `folder` is what the environment says.
fn credential(name: &str, folder: Option<OsString>) -> Result<String, String> {
    let Some(folder) = folder.filter(|folder| !folder.is_empty()) else {
        return Err(format!(
            "the credential `{name}` cannot be read: the service manager handed none over \
             (`{CREDENTIALS}` is not set)"
        ));
    };
    read_secret(&Path::new(&folder).join(name))
        .map_err(|error| format!("the credential `{name}` cannot be read: {error}"))
}

/// The contents of a file without its final line break.
fn read_secret(file: &Path) -> std::io::Result<String> {
    std::fs::read_to_string(file).map(|text| text.trim_end_matches(['\r', '\n']).to_owned())
}

fn look_up(host: &str) -> Result<Vec<IpAddr>, String> {
    let found = (host, 0).to_socket_addrs().map_err(|error| error.to_string())?;
    let mut addresses: Vec<IpAddr> = found.map(|address| address.ip()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.is_empty() { Err("the answer is empty".to_owned()) } else { Ok(addresses) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_a_file_of_the_folder_that_the_environment_names() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("key"), "text\r\n\n").unwrap();
        let here = || Some(folder.path().as_os_str().to_owned());
        assert_eq!(credential("key", here()).as_deref(), Ok("text"));
        let missing = credential("other", here()).unwrap_err();
        assert!(missing.starts_with("the credential `other` cannot be read: "), "{missing}");
        for none in [None, Some(OsString::new())] {
            let unset = credential("key", none).unwrap_err();
            assert!(unset.contains("`CREDENTIALS_DIRECTORY` is not set"), "{unset}");
        }
    }
}
