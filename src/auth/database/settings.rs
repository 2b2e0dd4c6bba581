//! `database` of a configuration.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::DatabaseSettings;
use super::address::Address;
use super::key_text::HashKey;
use crate::auth::api_key::secret_value;
use crate::model::{self, Problem, Problems, Resolved};

/// Most connections: a database has a few hundred for everybody.
const CONNECTIONS_MAX: u32 = 100;
/// How long one look-up may take: a request waits for it.
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(5);

impl DatabaseSettings {
    /// Compiles `database`, but for its `hashKey`. None where a reference could not be had, which
    /// whoever resolves references has reported, or where something is wrong.
    pub fn compile(
        database: &model::Database,
        resolved: &Resolved,
        problems: &mut Problems,
    ) -> Option<Self> {
        let before = problems.0.len();
        if !(1..=CONNECTIONS_MAX).contains(&database.max_connections) {
            let message = format!("between 1 and {CONNECTIONS_MAX} connections are possible");
            problems.push(Problem::error("database.range", "database.maxConnections", message));
        }
        if !TIMEOUT.contains(&database.timeout.get()) {
            let message = "the time limit lies between 10ms and 5s";
            problems.push(Problem::error("database.range", "database.timeout", message));
        }
        if problems.0.len() > before {
            return None;
        }
        let ca = match &database.ca_file {
            Some(file) => Some(resolved.file(file)?.to_vec()),
            None => None,
        };
        let settings = Self {
            url: resolved.secret(&database.url)?.to_owned(),
            ca,
            max_connections: database.max_connections,
            timeout: database.timeout.get(),
        };
        match Address::parse(&settings) {
            Ok(address) if address.is_exposed() => {
                let message = "the database is on another machine, and nothing proves that it is \
                               the right one: who stands in between can read and change what it \
                               says of callers";
                let help = "add `?sslmode=verify-full` to its address, and `caFile` where its \
                            certificate is not one that the system trusts";
                let warning = Problem::warning("database.unverified", "database.url", message);
                problems.push(warning.help(help));
            }
            Ok(_) => {}
            Err(why) => {
                problems.push(Problem::error("database.url", "database.url", why));
                return None;
            }
        }
        Some(settings)
    }
}

impl HashKey {
    /// Compiles `database.hashKey`. None where the reference could not be had, which whoever
    /// resolves references has reported, or where it is too short.
    pub fn compile(
        database: &model::Database,
        resolved: &Resolved,
        problems: &mut Problems,
    ) -> Option<Self> {
        let path = "database.hashKey";
        let text = secret_value(&database.hash_key, path, resolved, problems)?;
        match Self::new(text) {
            Ok(key) => Some(key),
            Err(bytes) => {
                let message = format!("the secret has {bytes} bytes, 32 are needed");
                let help = "make one with `openssl rand -hex 32`";
                problems.push(Problem::error("secret.short", path, message).help(help));
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Secret, Span};

    fn compile(change: impl FnOnce(&mut model::Database)) -> (bool, Vec<&'static str>) {
        let yaml = "{url: \"${env:URL}\", hashKey: \"${env:KEY}\", maxConnections: 2}";
        let mut database: model::Database = serde_yaml::from_str(yaml).unwrap();
        change(&mut database);
        let mut resolved = Resolved::default();
        for (name, value) in [
            ("URL", "postgres://u:p@db.example.com/n?sslmode=verify-full"),
            ("UNVERIFIED", "postgres://u:p@db.example.com/n"),
            ("WRONG", "http://u:p@db.example.com/n"),
            ("KEY", "0123456789abcdef0123456789abcdef"),
            ("SHORT", "0123456789abcdef0123456789abcde"),
        ] {
            resolved.secrets.insert(Secret::Env(name.to_owned()), value.to_owned());
        }
        let mut problems = Problems::default();
        let settings = DatabaseSettings::compile(&database, &resolved, &mut problems);
        let key = HashKey::compile(&database, &resolved, &mut problems);
        let codes = problems.0.iter().map(|problem| problem.code).collect();
        (settings.is_some() && key.is_some(), codes)
    }

    #[test]
    fn what_cannot_work_is_refused_and_what_is_unsafe_is_said() {
        assert_eq!(compile(|_| {}), (true, vec![]));
        let env = |name: &str| Secret::Env(name.to_owned());
        let unverified = compile(|database| database.url = env("UNVERIFIED"));
        assert_eq!(unverified, (true, vec!["database.unverified"]));
        let wrong = compile(|database| database.url = env("WRONG"));
        assert_eq!(wrong, (false, vec!["database.url"]));
        let short = compile(|database| database.hash_key = env("SHORT"));
        assert_eq!(short, (false, vec!["secret.short"]));
        let literal = Secret::Literal("x".repeat(32));
        let literal = compile(|database| database.hash_key = literal);
        assert_eq!(literal, (true, vec!["secret.literal"]));
        for (connections, good) in [(0, false), (1, true), (100, true), (101, false)] {
            assert_eq!(compile(|database| database.max_connections = connections).0, good);
        }
        for (ms, good) in [(9, false), (10, true), (5_000, true), (5_001, false)] {
            let told = compile(|database| database.timeout = Span::from_millis(ms));
            let codes = if good { vec![] } else { vec!["database.range"] };
            assert_eq!(told, (good, codes), "{ms}");
        }
        let absent = compile(|database| database.ca_file = Some("/nowhere".to_owned()));
        assert_eq!(absent, (false, vec![]), "whoever looked for it has said so");
    }
}
