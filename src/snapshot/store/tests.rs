use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};

use super::*;

fn found(redis: Value, resolved: &Resolved) -> Vec<(&'static str, String)> {
    let redis: model::Redis = serde_json::from_value(redis).unwrap();
    let mut problems = Problems::default();
    check(&redis, resolved, &mut problems);
    for problem in &problems.0 {
        let told = format!("{} {}", problem.message, problem.help.as_deref().unwrap_or_default());
        assert!(!told.contains("s3cret"), "{told}");
    }
    problems.0.into_iter().map(|problem| (problem.code, problem.path)).collect()
}

/// What is wrong where nothing is referred to.
fn wrong(redis: Value) -> Vec<(&'static str, String)> {
    found(redis, &Resolved::default())
}

fn one(code: &'static str, path: &str) -> Vec<(&'static str, String)> {
    vec![(code, path.to_owned())]
}

#[test]
fn every_way_to_reach_a_redis_is_right() {
    for redis in [
        json!({"url": "redis://host:6379/2"}),
        json!({"url": "rediss://user:s3cret@host", "tls": {}}),
        json!({"cluster": ["a:7000", "[::1]:7001"], "username": "u", "password": "s3cret"}),
        json!({"cluster": ["a:7000"], "password": "s3cret", "tls": {}}),
        json!({"sentinel": {"addresses": ["a:26379"], "master": "m"}, "database": 3}),
        json!({"sentinel": {"addresses": ["a:1"], "master": "m", "password": "s3cret"}}),
    ] {
        assert_eq!(wrong(redis.clone()), [], "{redis}");
        let redis: model::Redis = serde_json::from_value(redis).unwrap();
        assert!(redis_settings(&redis, &Resolved::default()).is_some());
    }
}

#[test]
fn a_redis_is_at_one_place() {
    let sentinel = json!({"addresses": ["a:1"], "master": "m"});
    for redis in [
        json!({}),
        json!({"url": "redis://host", "cluster": ["a:1"]}),
        json!({"cluster": ["a:1"], "sentinel": sentinel}),
        json!({"url": "redis://host", "sentinel": sentinel}),
    ] {
        assert_eq!(wrong(redis.clone()), one("redis.place", "redis"), "{redis}");
        let redis: model::Redis = serde_json::from_value(redis).unwrap();
        assert!(redis_settings(&redis, &Resolved::default()).is_none());
    }
}

#[test]
fn no_number_is_nothing() {
    for (more, path) in [
        (json!({"timeout": "0s"}), "redis.timeout"),
        (json!({"breaker": {"failures": 0}}), "redis.breaker.failures"),
        (json!({"breaker": {"openFor": "0s"}}), "redis.breaker.openFor"),
        (json!({"expectedNodes": 0}), "redis.expectedNodes"),
    ] {
        let mut redis = more;
        redis["url"] = json!("redis://host");
        assert_eq!(wrong(redis.clone()), one("redis.value", path), "{redis}");
    }
}

#[test]
fn urls_are_checked_and_what_they_hold_stands_nowhere_else() {
    for url in ["http://s3cret@host", "redis://:s3cret@host:x", "redis://s3cret@host"] {
        assert_eq!(wrong(json!({"url": url})), one("redis.url", "redis.url"), "{url}");
    }
    let unverified = json!({"url": "rediss://:s3cret@host/#insecure"});
    assert_eq!(wrong(unverified), one("redis.url", "redis.url"));
    let plain = json!({"url": "redis://:s3cret@host", "tls": {}});
    assert_eq!(wrong(plain), one("redis.tls", "redis.tls"));
    for (key, value) in
        [("username", json!("u")), ("password", json!("s3cret")), ("database", json!(1))]
    {
        let redis = json!({"url": "redis://host", key: value});
        assert_eq!(wrong(redis), one("redis.url", &format!("redis.{key}")), "{key}");
    }
}

#[test]
fn addresses_are_hosts_and_ports() {
    for address in ["a", "a:0", "a:65536", "redis://a:1", "u:s3cret@a:1", "", "::1"] {
        let redis = json!({"cluster": ["a:1", address]});
        assert_eq!(wrong(redis), one("redis.address", "redis.cluster[1]"), "{address}");
        let redis = json!({"sentinel": {"addresses": [address], "master": "m"}});
        let path = "redis.sentinel.addresses[0]";
        assert_eq!(wrong(redis), one("redis.address", path), "{address}");
    }
    let nobody = json!({"sentinel": {"addresses": [], "master": "m"}});
    assert_eq!(wrong(nobody), one("redis.address", "redis.sentinel.addresses"));
    let nameless = json!({"sentinel": {"addresses": ["a:1"], "master": ""}});
    assert_eq!(wrong(nameless), one("redis.master", "redis.sentinel.master"));
}

#[test]
fn users_have_passwords_and_clusters_no_databases() {
    let redis = json!({"cluster": ["a:1"], "username": "u"});
    assert_eq!(wrong(redis), one("redis.user", "redis.username"));
    let redis = json!({"sentinel": {"addresses": ["a:1"], "master": "m", "username": "u"}});
    assert_eq!(wrong(redis), one("redis.user", "redis.sentinel.username"));
    let redis = json!({"cluster": ["a:1"], "database": 1});
    assert_eq!(wrong(redis), one("redis.database", "redis.database"));
}

#[test]
fn certificates_and_keys_are_read_and_belong_together() {
    let pair = || {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["gateway".to_owned()]).unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    };
    let ((cert, key), (_, other)) = (pair(), pair());
    let mut resolved = Resolved::default();
    for (name, text) in [("cert", &cert), ("key", &key), ("other", &other)] {
        resolved.files.insert(name.to_owned(), text.clone().into_bytes());
    }
    resolved.files.insert("text".to_owned(), b"s3cret".to_vec());
    let tls = |tls: Value| found(json!({"url": "rediss://host", "tls": tls}), &resolved);
    let whole = json!({"caFile": "cert", "certFile": "cert", "keyFile": "key"});
    assert_eq!(tls(whole), []);
    assert_eq!(tls(json!({"certFile": "cert"})), one("tls.key", "redis.tls.certFile"));
    assert_eq!(tls(json!({"keyFile": "key"})), one("tls.key", "redis.tls.keyFile"));
    let strangers = json!({"certFile": "cert", "keyFile": "other"});
    assert_eq!(tls(strangers), one("tls.key", "redis.tls.keyFile"));
    assert_eq!(tls(json!({"caFile": "text"})), one("tls.certificate", "redis.tls.caFile"));
    let text = json!({"certFile": "text", "keyFile": "text"});
    assert_eq!(
        tls(text),
        [
            ("tls.certificate", "redis.tls.certFile".to_owned()),
            ("tls.key", "redis.tls.keyFile".to_owned()),
        ]
    );
    // A file that is not there was reported by whoever looked for it.
    assert_eq!(tls(json!({"caFile": "absent"})), []);
}
