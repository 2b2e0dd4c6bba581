//! Where the Redis of a configuration is.

use crate::link::{Address, Flaw, Place, Settings, Tls};
use crate::model::{self, Problem, Problems, Resolved, Secret, pem};
use crate::upstream::split_address;

/// How `redis` is used. None where its address cannot be had.
#[must_use]
pub fn redis_settings(redis: &model::Redis, resolved: &Resolved) -> Option<Settings> {
    Some(Settings {
        address: address(redis, resolved)?,
        prefix: redis.key_prefix.clone(),
        timeout: redis.timeout.get(),
        failures: redis.breaker.failures,
        open_for: redis.breaker.open_for.get(),
        expected_nodes: redis.expected_nodes,
    })
}

/// The address of `redis`, with its secrets; none where one of them could not be had, which has
/// been reported then, or where it says not exactly one place.
fn address(redis: &model::Redis, resolved: &Resolved) -> Option<Address> {
    let secret = |secret: &Option<Secret>| match secret {
        Some(secret) => resolved.secret(secret).map(|text| Some(text.to_owned())),
        None => Some(None),
    };
    let place = match (&redis.url, redis.cluster.as_slice(), &redis.sentinel) {
        (Some(url), [], None) => Place::Server(resolved.secret(url)?.to_owned()),
        (None, [_, ..], None) => Place::Cluster(redis.cluster.clone()),
        (None, [], Some(sentinel)) => Place::Sentinel {
            addresses: sentinel.addresses.clone(),
            master: sentinel.master.clone(),
            username: secret(&sentinel.username)?,
            password: secret(&sentinel.password)?,
        },
        _ => return None,
    };
    let tls = match &redis.tls {
        Some(tls) => Some(encryption(tls, resolved)?),
        None => None,
    };
    Some(Address {
        place,
        username: secret(&redis.username)?,
        password: secret(&redis.password)?,
        database: redis.database,
        tls,
    })
}

fn encryption(tls: &model::RedisTls, resolved: &Resolved) -> Option<Tls> {
    let file = |file: &Option<String>| match file {
        Some(file) => resolved.file(file).map(|bytes| Some(bytes.to_vec())),
        None => Some(None),
    };
    let (certificate, key) = (file(&tls.cert_file)?, file(&tls.key_file)?);
    Some(Tls { ca: file(&tls.ca_file)?, certificate: certificate.zip(key) })
}

/// What cannot be reached as it is written would otherwise look like an outage. Nothing that is
/// said repeats a secret.
pub(super) fn check(redis: &model::Redis, resolved: &Resolved, problems: &mut Problems) {
    let places = [redis.url.is_some(), !redis.cluster.is_empty(), redis.sentinel.is_some()];
    if places.into_iter().filter(|given| *given).count() != 1 {
        problems.push(
            Problem::error("redis.place", "redis", "it must be said where Redis is, in one way")
                .help("give one of `url`, `cluster` and `sentinel`"),
        );
    }
    if redis.url.is_some() {
        check_url(redis, resolved, problems);
    } else {
        check_user(redis.username.as_ref(), redis.password.as_ref(), "redis", problems);
    }
    check_addresses(&redis.cluster, "redis.cluster", problems);
    if !redis.cluster.is_empty() && redis.database != 0 {
        problems.push(
            Problem::error("redis.database", "redis.database", "a cluster has only database 0")
                .help("keep deployments apart by `keyPrefix`"),
        );
    }
    check_numbers(redis, problems);
    if let Some(sentinel) = &redis.sentinel {
        check_sentinel(sentinel, problems);
    }
    if let Some(tls) = &redis.tls {
        check_tls(tls, resolved, problems);
    }
}

/// With no time for calls or no failure allowed, Redis would never count, and no number would say
/// that this was meant.
fn check_numbers(redis: &model::Redis, problems: &mut Problems) {
    let breaker = &redis.breaker;
    for (is_zero, key, least) in [
        (redis.timeout.get().is_zero(), "timeout", "1ms"),
        (breaker.failures == 0, "breaker.failures", "1"),
        (breaker.open_for.get().is_zero(), "breaker.openFor", "1ms"),
        (redis.expected_nodes == 0, "expectedNodes", "1"),
    ] {
        if is_zero {
            let what = format!("0 cannot be meant: at least {least}");
            problems.push(Problem::error("redis.value", format!("redis.{key}"), what));
        }
    }
}

fn check_url(redis: &model::Redis, resolved: &Resolved, problems: &mut Problems) {
    let beside = [
        (redis.username.is_some(), "username", "redis://USER:PASSWORD@host:6379"),
        (redis.password.is_some(), "password", "redis://USER:PASSWORD@host:6379"),
        (redis.database != 0, "database", "redis://host:6379/DATABASE"),
    ];
    for (_, key, form) in beside.into_iter().filter(|(given, ..)| *given) {
        let path = format!("redis.{key}");
        problems.push(
            Problem::error("redis.url", path, format!("`{key}` has no effect beside `url`"))
                .help(format!("it belongs into the URL: {form}")),
        );
    }
    let Some(Err(flaw)) = address(redis, resolved).map(|address| address.check()) else { return };
    problems.push(match flaw {
        Flaw::Plain => Problem::error("redis.tls", "redis.tls", format!("the URL is {flaw}"))
            .help("write `rediss://` in the URL for an encrypted connection"),
        Flaw::Url | Flaw::Unverified | Flaw::NoPassword => {
            Problem::error("redis.url", "redis.url", format!("the URL is {flaw}"))
        }
    });
}

/// A user alone would not be used: Redis is told who is there by a password.
fn check_user(
    username: Option<&Secret>,
    password: Option<&Secret>,
    path: &str,
    problems: &mut Problems,
) {
    if username.is_some() && password.is_none() {
        let what = "a user without a password would be the default user";
        problems.push(
            Problem::error("redis.user", format!("{path}.username"), what)
                .help("give the `password` too"),
        );
    }
}

fn check_addresses(addresses: &[String], path: &str, problems: &mut Problems) {
    for (index, address) in addresses.iter().enumerate() {
        let what = match split_address(address) {
            // Other words would repeat what may be a password.
            _ if address.contains('@') => "an address holds no user".to_owned(),
            Ok((_, Some(_))) => continue,
            Ok((_, None)) => "the address has no port".to_owned(),
            Err(why) => why,
        };
        problems.push(
            Problem::error("redis.address", format!("{path}[{index}]"), what)
                .help("an address is `host:port`; passwords and databases have keys of their own"),
        );
    }
}

fn check_sentinel(sentinel: &model::Sentinel, problems: &mut Problems) {
    if sentinel.addresses.is_empty() {
        let path = "redis.sentinel.addresses";
        problems.push(
            Problem::error("redis.address", path, "there is no Sentinel to ask")
                .help("name all of them, `host:port` each: any that answers will do"),
        );
    }
    if sentinel.master.is_empty() {
        let path = "redis.sentinel.master";
        problems.push(
            Problem::error("redis.master", path, "the name of the primary is empty")
                .help("it is the first word behind `sentinel monitor` in the Sentinels' file"),
        );
    }
    check_addresses(&sentinel.addresses, "redis.sentinel.addresses", problems);
    let (username, password) = (sentinel.username.as_ref(), sentinel.password.as_ref());
    check_user(username, password, "redis.sentinel", problems);
}

fn check_tls(tls: &model::RedisTls, resolved: &Resolved, problems: &mut Problems) {
    if let Some(file) = &tls.ca_file {
        note(pem::certificates(resolved, file, "redis.tls.caFile"), problems);
    }
    let (cert, key) = match (&tls.cert_file, &tls.key_file) {
        (None, None) => return,
        (Some(cert), Some(key)) => (cert, key),
        (cert, _) => {
            let (given, other) =
                if cert.is_some() { ("certFile", "keyFile") } else { ("keyFile", "certFile") };
            let what = format!("`{given}` has no effect without `{other}`");
            problems.push(
                Problem::error("tls.key", format!("redis.tls.{given}"), what)
                    .help("the gateway's own certificate needs its private key"),
            );
            return;
        }
    };
    let chain = note(pem::certificates(resolved, cert, "redis.tls.certFile"), problems);
    let private = note(pem::private_key(resolved, key, "redis.tls.keyFile"), problems);
    if let Some(leaf) = chain.as_ref().and_then(|chain| chain.first())
        && let Some(warning) = pem::out_of_date(leaf, resolved, cert, "redis.tls.certFile")
    {
        problems.push(warning);
    }
    if let (Some(chain), Some(private)) = (chain, private)
        && !pem::fits(chain, &private)
    {
        let what = format!("the key in `{key}` does not belong to the certificate in `{cert}`");
        problems.push(Problem::error("tls.key", "redis.tls.keyFile", what));
    }
}

fn note<T>(read: Result<Option<T>, Box<Problem>>, problems: &mut Problems) -> Option<T> {
    read.unwrap_or_else(|problem| {
        problems.push(*problem);
        None
    })
}

#[cfg(test)]
mod tests;
