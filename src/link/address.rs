//! Where a Redis is.

use std::time::Duration;

use redis::io::tcp::TcpSettings;
use redis::io::tcp::socket2::TcpKeepalive;
use redis::{
    Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo,
    RedisConnectionInfo, RedisError, TlsCertificates,
};

/// A server that says nothing for so long is asked whether it is there; idle connections that
/// somebody on the way has forgotten are found out like this.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// Time between questions.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// Questions without an answer after which the connection is lost.
const KEEPALIVE_RETRIES: u32 = 3;

/// Where a Redis is and how it is reached. `Debug` shows none of it: it holds passwords.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    /// The servers.
    pub place: Place,
    /// The user (ACL) and its password at servers that are not named by a URL.
    pub username: Option<String>,
    /// See `username`.
    pub password: Option<String>,
    /// The database at the servers that Sentinels name.
    pub database: u8,
    /// What encrypted connections trust and show; none where they are not encrypted, or where
    /// `rediss://` stands alone and the system's authorities count.
    pub tls: Option<Tls>,
}

/// The servers of a Redis.
#[derive(Clone, PartialEq, Eq)]
pub enum Place {
    /// One server, by URL.
    Server(String),
    /// Nodes of a Redis Cluster, `host:port` each.
    Cluster(Vec<String>),
    /// The primary that Sentinels name.
    Sentinel {
        /// `host:port` of each Sentinel.
        addresses: Vec<String>,
        /// Name of the primary.
        master: String,
        /// The user at the Sentinels.
        username: Option<String>,
        /// Its password.
        password: Option<String>,
    },
}

/// What an encrypted connection trusts and shows, PEM each.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// Authorities instead of the system's.
    pub ca: Option<Vec<u8>>,
    /// The gateway's certificate and its private key.
    pub certificate: Option<(Vec<u8>, Vec<u8>)>,
}

/// What is wrong with the address of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// It is no address at all.
    #[error("not an address such as redis://user:password@host:6379/0")]
    Url,
    /// It asks for certificates that are not verified.
    #[error("one that asks for unverified certificates; that is not possible")]
    Unverified,
    /// A user without a password would be the default user.
    #[error("one with a user but no password; a password alone is `redis://:password@host`")]
    NoPassword,
    /// There are settings for encryption, but the scheme is `redis://`.
    #[error("one without encryption, so `tls` has no effect")]
    Plain,
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Address").finish_non_exhaustive()
    }
}

impl Address {
    /// One server.
    #[must_use]
    pub fn server(url: &str) -> Self {
        let place = Place::Server(url.to_owned());
        Self { place, username: None, password: None, database: 0, tls: None }
    }

    /// Why a URL cannot be the address of a Redis, without repeating it. Addresses without a URL
    /// are right if their parts are.
    ///
    /// # Errors
    /// When it is not `redis://[user:password@]host:port[/db]` or the like.
    pub fn check(&self) -> Result<(), Flaw> {
        let Place::Server(url) = &self.place else { return Ok(()) };
        let info = url.as_str().into_connection_info().map_err(|_| Flaw::Url)?;
        let settings = info.redis_settings();
        if settings.username().is_some() && settings.password().is_none() {
            return Err(Flaw::NoPassword);
        }
        match info.addr() {
            ConnectionAddr::TcpTls { insecure: true, .. } => Err(Flaw::Unverified),
            ConnectionAddr::TcpTls { .. } => Ok(()),
            _ if self.tls.is_some() => Err(Flaw::Plain),
            _ => Ok(()),
        }
    }

    /// A client of the server that a URL names.
    pub(super) fn client_of_url(&self, url: &str) -> Option<Client> {
        self.check().ok()?;
        let info = url.into_connection_info().ok()?.set_tcp_settings(tcp_settings());
        self.client(info).ok()
    }

    /// A client of one server of a cluster, or one that Sentinels name.
    pub(super) fn client_of(&self, host: &str, port: u16) -> Result<Client, RedisError> {
        let user = (self.username.as_deref(), self.password.as_deref());
        self.client(self.info(host, port, user)?)
    }

    /// A client of a Sentinel.
    pub(super) fn client_of_sentinel(
        &self,
        host: &str,
        port: u16,
        user: (Option<&str>, Option<&str>),
    ) -> Result<Client, RedisError> {
        let info = self.info(host, port, user)?;
        // Sentinels have no databases.
        let settings = info.redis_settings().clone().set_db(0);
        self.client(info.set_redis_settings(settings))
    }

    /// How a server is reached.
    pub(super) fn info(
        &self,
        host: &str,
        port: u16,
        (username, password): (Option<&str>, Option<&str>),
    ) -> Result<ConnectionInfo, RedisError> {
        let host = host.to_owned();
        let place = match &self.tls {
            None => ConnectionAddr::Tcp(host, port),
            Some(_) => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
        };
        let mut settings = RedisConnectionInfo::default().set_db(self.database.into());
        if let Some(username) = username {
            settings = settings.set_username(username);
        }
        if let Some(password) = password {
            settings = settings.set_password(password);
        }
        let info = place.into_connection_info()?;
        Ok(info.set_redis_settings(settings).set_tcp_settings(tcp_settings()))
    }

    fn client(&self, info: ConnectionInfo) -> Result<Client, RedisError> {
        match &self.tls {
            Some(tls) => Client::build_with_tls(info, tls.certificates()),
            None => Client::open(info),
        }
    }
}

impl Tls {
    pub(super) fn certificates(&self) -> TlsCertificates {
        let certificate = self.certificate.clone();
        TlsCertificates {
            client_tls: certificate
                .map(|(client_cert, client_key)| ClientTlsConfig { client_cert, client_key }),
            root_cert: self.ca.clone(),
        }
    }
}

/// Splits `host:port`, where an IPv6 address stands in brackets.
pub(super) fn host_and_port(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Some((host, port.parse().ok()?)).filter(|(host, _)| !host.is_empty())
}

pub(super) fn tcp_settings() -> TcpSettings {
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_RETRIES);
    // Without nodelay the kernel holds small calls back until earlier ones are acknowledged.
    TcpSettings::default().set_nodelay(true).set_keepalive(keepalive)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flaw(url: &str) -> Option<Flaw> {
        Address::server(url).check().err()
    }

    #[test]
    fn urls_are_what_a_redis_can_be_reached_by() {
        for url in [
            "redis://host",
            "redis://host:6379/2",
            "redis://:secret@host",
            "rediss://user:secret@host:6380/1",
            "redis://[::1]:6379",
        ] {
            assert_eq!(flaw(url), None, "{url}");
        }
        for url in ["http://:secret@host", "redis://:secret@host:port", "secret", ""] {
            assert_eq!(flaw(url), Some(Flaw::Url), "{url}");
        }
        assert_eq!(flaw("rediss://:secret@host/#insecure"), Some(Flaw::Unverified));
        assert_eq!(flaw("redis://secret@host"), Some(Flaw::NoPassword));
    }

    #[test]
    fn settings_for_encryption_need_encryption() {
        let with_tls = |url| Address { tls: Some(Tls::default()), ..Address::server(url) };
        assert_eq!(with_tls("redis://host").check(), Err(Flaw::Plain));
        assert_eq!(with_tls("rediss://host").check(), Ok(()));
    }

    #[test]
    fn hosts_and_ports_are_split_at_the_last_colon() {
        assert_eq!(host_and_port("a.example:1"), Some(("a.example", 1)));
        assert_eq!(host_and_port("[::1]:26379"), Some(("::1", 26379)));
        for wrong in ["", ":1", "a", "a:", "a:65536", "a:-1"] {
            assert_eq!(host_and_port(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_server_is_reached_as_the_address_says() {
        let address = Address {
            place: Place::Cluster(vec![]),
            username: Some("gateway".to_owned()),
            password: Some("secret".to_owned()),
            database: 3,
            tls: Some(Tls::default()),
        };
        let user = (address.username.as_deref(), address.password.as_deref());
        let info = address.info("host", 7000, user).unwrap();
        assert!(matches!(
            info.addr(),
            ConnectionAddr::TcpTls { host, port: 7000, insecure: false, .. } if host == "host"
        ));
        let settings = info.redis_settings();
        assert_eq!((settings.username(), settings.db()), (Some("gateway"), 3));
        assert_eq!(settings.password(), Some("secret"));
        assert!(info.tcp_settings().nodelay() && info.tcp_settings().keepalive().is_some());
        let sentinel = address.client_of_sentinel("host", 26379, (None, Some("other"))).unwrap();
        let settings = sentinel.get_connection_info().redis_settings();
        assert_eq!((settings.username(), settings.db()), (None, 0));
        assert_eq!(settings.password(), Some("other"));
        assert!(!format!("{address:?}").contains("secret"));
    }
}
