use crate::auth::testing::compile;
use crate::model::{Resolved, Secret};

fn told(settings: &str, url: &str, hash_key: &str) -> Vec<String> {
    let mut resolved = Resolved::default();
    for (name, value) in [("URL", url), ("KEY", hash_key)] {
        resolved.secrets.insert(Secret::Env(name.to_owned()), value.to_owned());
    }
    let yaml = format!("database: {{url: '${{env:URL}}', hashKey: '${{env:KEY}}'{settings}}}");
    compile(&yaml, &resolved).1
}

const URL: &str = "sqlite:/var/lib/tidegate/keys.db";
const KEY: &str = "0123456789abcdef0123456789abcdef";

#[test]
fn addresses_name_a_file_or_a_server() {
    let postgres = "postgres://u:p@db.example.com:5432/n?sslmode=verify-full";
    for good in [URL, "sqlite:///var/lib/keys.db", postgres] {
        assert_eq!(told("", good, KEY), [""; 0], "{good}");
    }
    for bad in ["sqlite:", "mysql://u@h/n", "sqlite:keys.db", "keys.db"] {
        assert_eq!(told("", bad, KEY), ["database.url database.url"], "{bad}");
    }
}

#[test]
fn the_secret_for_hashes_has_32_bytes() {
    assert_eq!(told("", URL, &KEY[..31]), ["secret.short database.hashKey"]);
    let literal = format!("database: {{url: '{URL}', hashKey: {KEY}}}");
    let (providers, problems) = compile(&literal, &Resolved::default());
    assert_eq!(problems, ["secret.literal database.hashKey"]);
    let shown = format!("{providers:?}");
    assert!(!shown.contains(KEY) && !shown.contains("keys.db"), "{shown}");
}

#[test]
fn times_and_numbers_have_bounds() {
    for (key, low, high) in [
        ("timeout", ["9ms", "10ms"], ["5s", "5001ms"]),
        ("cacheTtl", ["999ms", "1s"], ["1h", "3600001ms"]),
        ("negativeTtl", ["0s", "0s"], ["10m", "601s"]),
        ("maxConnections", ["0", "1"], ["100", "101"]),
        ("cacheEntries", ["0", "0"], ["2000000", "2000001"]),
    ] {
        let rest = if key == "cacheTtl" { ", staleTtl: 2h" } else { "" };
        let told = |value: &str| told(&format!(", {key}: {value}{rest}"), URL, KEY);
        let wrong = [format!("database.range database.{key}")];
        assert_eq!(told(low[1]), [""; 0], "{key}");
        assert_eq!(told(high[0]), [""; 0], "{key}");
        assert_eq!(told(high[1]), wrong, "{key}");
        if low[0] != low[1] {
            assert_eq!(told(low[0]), wrong, "{key}");
        }
    }
    assert_eq!(told(", staleTtl: 5m", URL, KEY), [""; 0]);
    assert_eq!(told(", staleTtl: 299s", URL, KEY), ["database.range database.staleTtl"]);
}
