use http::HeaderValue;

use super::super::testing::{compile, said};
use super::*;

const KEYS: &str = "
apiKeys:
  - {id: partner, key: '${env:PARTNER}', tenantId: acme, plan: gold, scopes: [orders:read]}
  - {id: retired, key: '${env:RETIRED}', active: false}
tenants:
  acme: {status: ACTIVE}
";

fn resolved(values: &[(&str, &str)]) -> Resolved {
    let mut resolved = Resolved::default();
    for (name, value) in values {
        resolved.secrets.insert(Secret::Env((*name).to_owned()), (*value).to_owned());
    }
    resolved
}

fn keys() -> ApiKeys {
    let values = [("PARTNER", "partner-key-0123456789"), ("RETIRED", "retired-key-0123456789")];
    let (providers, problems) = compile(KEYS, &resolved(&values));
    assert_eq!(problems, [""; 0]);
    providers.api_keys
}

fn carrying(values: &[&'static str]) -> HeaderMap {
    values.iter().map(|value| (API_KEY_HEADER, HeaderValue::from_static(value))).collect()
}

fn problems(yaml: &str, values: &[(&str, &str)]) -> Vec<String> {
    compile(yaml, &resolved(values)).1
}

#[test]
fn a_key_proves_what_the_configuration_says_of_it() {
    let identity = keys().find(&carrying(&["partner-key-0123456789"])).unwrap().unwrap();
    assert_eq!((&*identity.provider, &*identity.subject), ("apiKeys", "partner"));
    assert_eq!(identity.api_key.as_deref(), Some("partner"));
    assert_eq!(identity.tenant_id.as_deref(), Some("acme"));
    assert_eq!(identity.tenant_status.as_deref(), Some("ACTIVE"));
    let header = |name: &str| {
        let found = identity.headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| value.to_str().unwrap())
    };
    assert_eq!(header("x-client-id"), Some("partner"));
    assert_eq!(header("x-client-plan"), Some("gold"));
    assert_eq!(header("x-auth-scopes"), Some("orders:read"));
    assert_eq!(header("x-user-roles"), None);
}

#[test]
fn the_same_identity_is_handed_out_each_time() {
    let keys = keys();
    let headers = carrying(&["partner-key-0123456789"]);
    let (one, two) = (keys.find(&headers).unwrap(), keys.find(&headers).unwrap());
    assert!(Arc::ptr_eq(&one.unwrap(), &two.unwrap()));
}

#[test]
fn unknown_and_retired_keys_are_told_the_same() {
    let keys = keys();
    let refused = [
        carrying(&["retired-key-0123456789"]),
        carrying(&["partner-key-012345678"]),
        carrying(&["partner-key-01234567890"]),
        carrying(&[""]),
        carrying(&["partner-key-0123456789", "partner-key-0123456789"]),
    ];
    for headers in refused {
        let reject = keys.find(&headers).unwrap_err();
        assert_eq!(said(&reject), "auth.api_key_unknown: ", "{headers:?}");
        assert_eq!(reject.headers[0].1, "ApiKey realm=\"tidegate\", header=\"x-api-key\"");
    }
    assert!(keys.find(&HeaderMap::new()).unwrap().is_none());
    assert!(ApiKeys::default().find(&carrying(&["x"])).is_err());
}

#[test]
fn no_key_is_kept_or_shown() {
    let keys = keys();
    assert_eq!(format!("{keys:?}"), "ApiKeys(1)");
    let other = self::keys();
    let digests = |keys: &ApiKeys| keys.by_digest.keys().copied().collect::<Vec<_>>();
    assert_ne!(digests(&keys), digests(&other), "digests are worth nothing elsewhere");
}

#[test]
fn entries_that_cannot_be_meant_are_errors() {
    let long = "0123456789abcdef";
    let two = "apiKeys: [{id: a, key: '${env:A}'}, {id: ID, key: '${env:B}'}]";
    let both = |id: &str, b: &str| problems(&two.replace("ID", id), &[("A", long), ("B", b)]);
    assert_eq!(both("b", "fedcba9876543210"), [""; 0]);
    assert_eq!(both("b", long), ["api_key.repeated apiKeys[1].key"]);
    assert_eq!(both("a", "fedcba9876543210"), ["api_key.id apiKeys[1].id"]);
    assert_eq!(both("''", "fedcba9876543210"), ["api_key.id apiKeys[1].id"]);
    assert_eq!(both("b", ""), ["secret.short apiKeys[1].key"]);
    assert_eq!(both("b", "short-key"), ["secret.short apiKeys[1].key"]);
    assert_eq!(both("\"a\\nb\"", "fedcba9876543210"), ["api_key.unsendable apiKeys[1]"]);
}

#[test]
fn a_literal_key_works_and_is_warned_about() {
    let yaml = "apiKeys: [{id: a, key: literal-key-of-a-demo}]";
    let (providers, problems) = compile(yaml, &Resolved::default());
    assert_eq!(problems, ["secret.literal apiKeys[0].key"]);
    assert!(providers.api_keys.find(&carrying(&["literal-key-of-a-demo"])).unwrap().is_some());
}

#[test]
fn a_key_that_could_not_be_had_opens_nothing() {
    let (providers, problems) = compile("apiKeys: [{id: a, key: '${env:A}'}]", &resolved(&[]));
    assert_eq!(problems, [""; 0], "reported where references are resolved");
    assert!(providers.api_keys.is_configured());
    assert!(providers.api_keys.find(&carrying(&[""])).is_err());
}
