//! Where a database is: a file, or a server.

use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use sqlx::postgres::{PgConnectOptions, PgSslMode};

use super::DatabaseSettings;

/// Where a database is.
pub(super) enum Address {
    /// The file of an `SQLite` database.
    Sqlite(PathBuf),
    /// A `PostgreSQL` server, and who the gateway is there.
    Postgres(Box<PgConnectOptions>),
}

/// What an address must not show is not shown: the password.
impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Sqlite(_) => "Sqlite",
            Self::Postgres(_) => "Postgres",
        })
    }
}

impl Address {
    /// Reads an address.
    ///
    /// # Errors
    /// Says what is wrong with it, without repeating it.
    pub(super) fn parse(settings: &DatabaseSettings) -> Result<Self, &'static str> {
        if let Some(path) = settings.url.strip_prefix("sqlite:") {
            return sqlite(path, settings.ca.is_some());
        }
        if ["postgres://", "postgresql://"].iter().any(|scheme| settings.url.starts_with(scheme)) {
            return postgres(&settings.url, settings.ca.as_deref());
        }
        Err("not an address: sqlite:/path/to/file or postgres://user:password@host/name")
    }

    /// Whether what is said to the server can be read or changed on the way by whoever stands
    /// there: it is another machine, and its certificate is not verified.
    pub(super) fn is_exposed(&self) -> bool {
        let Self::Postgres(options) = self else { return false };
        let host = options.get_host();
        let is_here = options.get_socket().is_some()
            || host.starts_with('/')
            || host == "localhost"
            || host
                .trim_matches(['[', ']'])
                .parse::<std::net::IpAddr>()
                .is_ok_and(|ip| ip.is_loopback());
        !is_here && !is_verified(options.get_ssl_mode())
    }
}

fn sqlite(path: &str, has_ca: bool) -> Result<Address, &'static str> {
    // `sqlite:///path` is how other programs write the same.
    let path = path.strip_prefix("//").unwrap_or(path);
    if !path.starts_with('/') || path.ends_with('/') {
        return Err(
            "the file of an SQLite database needs an absolute path: sqlite:/path/to/file, \
                    so that the gateway and the commands mean the same file",
        );
    }
    if path.contains(['?', '\0']) {
        return Err("the address of an SQLite database takes no parameters");
    }
    if has_ca {
        return Err("`caFile` is of no use for an SQLite database");
    }
    Ok(Address::Sqlite(Path::new(path).to_owned()))
}

fn postgres(url: &str, ca: Option<&[u8]>) -> Result<Address, &'static str> {
    let mut has_mode = false;
    for parameter in url.split_once('?').map_or("", |(_, query)| query).split('&') {
        // The library passes over what it does not know, and logs its value.
        let name = parameter.split('=').next().unwrap_or_default();
        has_mode |= ["sslmode", "ssl-mode"].contains(&name);
        if !name.is_empty() && !PARAMETERS.contains(&name) && !name.starts_with("options[") {
            return Err("the address of a PostgreSQL database has an unknown parameter");
        }
    }
    let options = PgConnectOptions::from_str(url)
        .map_err(|_| "not an address such as postgres://user:password@host:5432/name")?;
    let Some(ca) = ca else { return Ok(Address::Postgres(Box::new(options))) };
    let options = options.ssl_root_cert_from_pem(ca.to_vec());
    if !has_mode {
        return Ok(Address::Postgres(Box::new(options.ssl_mode(PgSslMode::VerifyFull))));
    }
    if !is_verified(options.get_ssl_mode()) {
        return Err("`caFile` needs sslmode=verify-full or sslmode=verify-ca: any other verifies \
                    no certificate");
    }
    Ok(Address::Postgres(Box::new(options)))
}

const fn is_verified(mode: PgSslMode) -> bool {
    matches!(mode, PgSslMode::VerifyFull | PgSslMode::VerifyCa)
}

/// Parameters that the address of a `PostgreSQL` database may have; `options[…]` besides.
const PARAMETERS: &[&str] = &[
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn parse(url: &str, ca: Option<&str>) -> Result<Address, &'static str> {
        let ca = ca.map(|pem| pem.as_bytes().to_vec());
        let timeout = Duration::from_secs(1);
        Address::parse(&DatabaseSettings { url: url.to_owned(), ca, max_connections: 1, timeout })
    }

    #[test]
    fn a_file_has_an_absolute_path() {
        for url in ["sqlite:/var/lib/a b%20.db", "sqlite:///var/lib/a b%20.db"] {
            let Ok(Address::Sqlite(path)) = parse(url, None) else { panic!("{url}") };
            assert_eq!(path, Path::new("/var/lib/a b%20.db"));
        }
        for url in ["sqlite:", "sqlite::memory:", "sqlite:a.db", "sqlite://a.db", "sqlite:/", "a"] {
            assert!(parse(url, None).is_err(), "{url}");
        }
        assert!(parse("sqlite:/a.db?mode=memory", None).unwrap_err().contains("no parameters"));
        assert!(parse("sqlite:/a.db", Some("PEM")).unwrap_err().contains("caFile"));
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for url in [
            "postgres://u:hunter22@host:port/n",
            "postgres://u:hunter22@h/n?sslmod=require",
            "postgres://u:hunter22@h/n?sslmode=sometimes",
            "mysql://u:hunter22@h/n",
            "hunter22",
        ] {
            let why = parse(url, None).unwrap_err();
            assert!(!why.contains("hunter22"), "{why}");
        }
        let address = parse("postgres://u:hunter22@h/n?application_name=gw", None).unwrap();
        assert_eq!(format!("{address:?}"), "Postgres");
    }

    #[test]
    fn an_authority_is_never_named_in_vain() {
        let mode = |url: &str| match parse(url, Some("PEM")) {
            Ok(Address::Postgres(options)) => Some(options.get_ssl_mode()),
            _ => None,
        };
        assert!(matches!(mode("postgres://h/n"), Some(PgSslMode::VerifyFull)));
        assert!(matches!(mode("postgres://h/n?sslmode=verify-ca"), Some(PgSslMode::VerifyCa)));
        for weak in ["disable", "allow", "prefer", "require"] {
            assert!(mode(&format!("postgres://h/n?sslmode={weak}")).is_none(), "{weak}");
        }
    }

    #[test]
    fn only_a_verified_server_elsewhere_is_not_exposed() {
        let exposed = |url: &str| parse(url, None).unwrap().is_exposed();
        assert!(exposed("postgres://db.example.com/n"));
        assert!(exposed("postgres://192.0.2.1/n?sslmode=require"));
        assert!(!exposed("postgres://db.example.com/n?sslmode=verify-full"));
        for here in ["127.0.0.1", "localhost", "[::1]", "%2Frun%2Fpostgresql"] {
            assert!(!exposed(&format!("postgres://{here}/n?sslmode=disable")), "{here}");
        }
        assert!(!exposed("sqlite:/a.db"));
    }
}
