use super::*;
use crate::auth::testing::{
    RSA_PUBLIC, RSA_SHORT, SECRET, Signer, compile, fetched_provider, key_set, main_provider,
};
use crate::model::Secret;

fn problems(rest: &str) -> Vec<String> {
    compile(&main_provider(rest), &resolved()).1
}

fn resolved() -> Resolved {
    let mut resolved = Resolved::default();
    resolved.files.insert("/rsa.pem".into(), RSA_PUBLIC.into());
    resolved.files.insert("/short.pem".into(), RSA_SHORT.into());
    resolved.files.insert("/ed.jwks".into(), key_set(&[Signer::new("EdDSA").jwk("k")]));
    resolved.files.insert("/bad.jwks".into(), b"{}".to_vec());
    resolved.secrets.insert(Secret::Env("S".into()), SECRET.into());
    resolved.secrets.insert(Secret::Env("S31".into()), "x".repeat(31));
    resolved.secrets.insert(Secret::Env("S32".into()), "x".repeat(32));
    resolved
}

fn fingerprint(yaml: &str, resolved: &Resolved) -> crate::auth::jwt::provider::Fingerprint {
    let (providers, _) = compile(yaml, resolved);
    providers.get(ProviderIndex(0)).unwrap().fingerprint
}

#[test]
fn every_source_of_keys_is_accepted_alone() {
    for rest in [
        "    algorithms: [RS256]\n    jwksUrl: https://issuer.test/keys\n",
        "    algorithms: [RS256]\n    jwksUrl: http://127.0.0.1:1/keys\n",
        "    algorithms: [RS256]\n    jwksUrl: http://[::1]/keys\n",
        "    algorithms: [RS256]\n    jwksUrl: http://localhost/keys\n",
        "    algorithms: [RS256]\n    discoveryUrl: https://issuer.test/d\n",
        "    algorithms: [EdDSA]\n    jwksFile: /ed.jwks\n",
        "    algorithms: [RS256, PS512]\n    publicKeyFile: /rsa.pem\n",
        "    algorithms: [HS256, HS512]\n    secret: '${env:S}'\n",
        "    algorithms: [HS256]\n    secret: '${env:S32}'\n",
    ] {
        assert_eq!(problems(rest), [""; 0], "{rest}");
    }
    let pem = RSA_PUBLIC.replace('\n', "\n      ");
    let inline = format!("    algorithms: [RS256]\n    publicKeyPem: |\n      {pem}\n");
    assert_eq!(problems(&inline), [""; 0]);
}

#[test]
fn exactly_one_source_is_given() {
    let none = "    algorithms: [RS256]\n";
    assert_eq!(problems(none), ["provider.keys identityProviders.main"]);
    let two = "    algorithms: [RS256]\n    jwksFile: /ed.jwks\n    publicKeyFile: /rsa.pem\n";
    assert_eq!(problems(two), ["provider.keys identityProviders.main"]);
}

#[test]
fn algorithms_fit_the_source() {
    let at =
        |index: usize| format!("provider.algorithms identityProviders.main.algorithms[{index}]");
    let whole = "provider.algorithms identityProviders.main.algorithms";
    let url = "    jwksUrl: https://issuer.test/keys\n";
    let confused = problems(&format!("    algorithms: [RS256, HS256]\n{url}"));
    assert_eq!(confused, [at(1)], "HMAC beside public keys is the classic confusion");
    assert_eq!(problems(&format!("    algorithms: []\n{url}")), [whole]);
    let with = |algorithms: &str, source: &str| {
        problems(&format!("    algorithms: {algorithms}\n    {source}\n"))
    };
    assert_eq!(with("[HS256, RS256]", "secret: '${env:S}'"), [at(1), whole.to_owned()]);
    assert_eq!(with("[HS256]", "publicKeyFile: /rsa.pem"), [at(0), whole.to_owned()]);
    assert_eq!(with("[ES256]", "publicKeyFile: /rsa.pem"), [whole]);
    assert_eq!(with("[EdDSA, RS256]", "jwksFile: /ed.jwks"), [whole]);
}

#[test]
fn keys_that_cannot_be_used_are_errors() {
    let with = |algorithm: &str, source: &str| {
        problems(&format!("    algorithms: [{algorithm}]\n    {source}\n"))
    };
    let at = |code: &str, key: &str| [format!("{code} identityProviders.main.{key}")];
    assert_eq!(with("RS256", "publicKeyFile: /short.pem"), at("provider.keys", "publicKeyFile"));
    assert_eq!(with("RS256", "publicKeyPem: nonsense"), at("provider.keys", "publicKeyPem"));
    assert_eq!(with("RS256", "jwksFile: /bad.jwks"), at("provider.keys", "jwksFile"));
    assert_eq!(with("RS256", "jwksUrl: ftp://x/"), at("provider.url", "jwksUrl"));
    assert_eq!(with("RS256", "jwksUrl: keys"), at("provider.url", "jwksUrl"));
    assert_eq!(with("RS256", "jwksUrl: http://issuer.test/"), at("provider.cleartext", "jwksUrl"));
    assert_eq!(with("HS256", "secret: '${env:S31}'"), at("secret.short", "secret"));
    for (algorithms, bytes) in [("HS256", 32), ("HS384", 48), ("HS256, HS512, HS384", 64)] {
        let short = format!("secret: {}", "s".repeat(bytes - 1));
        let found = with(algorithms, &short);
        assert!(found.contains(&at("secret.short", "secret")[0]), "{algorithms}: {found:?}");
        let long = format!("secret: {}", "s".repeat(bytes));
        let found = with(algorithms, &long);
        assert!(!found.contains(&at("secret.short", "secret")[0]), "{algorithms}: {found:?}");
    }
    // What could not be resolved is reported there.
    assert_eq!(with("RS256", "jwksFile: /absent"), [""; 0]);
    assert_eq!(with("HS256", "secret: '${env:ABSENT}'"), [""; 0]);
}

#[test]
fn a_literal_secret_is_warned_about() {
    let rest = format!("    algorithms: [HS256]\n    secret: {SECRET}\n");
    assert_eq!(problems(&rest), ["secret.literal identityProviders.main.secret"]);
}

#[test]
fn words_that_must_say_something_do() {
    let yaml = "identityProviders:\n  apiKeys:\n    issuer: ''\n    audience: ['a', '']\n    \
                algorithms: [RS256]\n    jwksUrl: https://x.test/\n    \
                jwks: {refresh: 0s, timeout: 0s}\n";
    let (_, problems) = compile(yaml, &resolved());
    let path = "identityProviders.apiKeys";
    assert_eq!(
        problems,
        [
            format!("provider.name {path}"),
            format!("provider.issuer {path}.issuer"),
            format!("provider.audience {path}.audience"),
            format!("provider.refresh {path}.jwks.refresh"),
            format!("provider.timeout {path}.jwks.timeout"),
        ]
    );
}

#[test]
fn a_fingerprint_changes_with_all_that_decides_what_a_token_proves() {
    let base = fetched_provider("[RS256]");
    let same = fingerprint(&base, &resolved());
    assert_eq!(fingerprint(&base, &resolved()), same);
    for other in [
        fetched_provider("[RS256, PS256]"),
        base.replace("orders", "users"),
        base.replace("main", "other"),
        format!("{base}    clockToleranceSeconds: 31\n"),
        format!("{base}tenants:\n  acme: {{status: ACTIVE}}\n"),
        format!("{base}identityHeaders: {{x-user-id: email}}\n"),
    ] {
        assert_ne!(fingerprint(&other, &resolved()), same, "{other}");
    }
    // Routes and limits do not decide it: a reload that changes only them keeps proofs.
    let unrelated = format!("{base}configVersion: 7\n");
    assert_eq!(fingerprint(&unrelated, &resolved()), same);
}

#[test]
fn a_fingerprint_changes_with_the_secret_behind_a_reference() {
    let yaml = main_provider("    algorithms: [HS256]\n    secret: '${env:S}'\n");
    let before = fingerprint(&yaml, &resolved());
    let mut rotated = resolved();
    rotated.secrets.insert(Secret::Env("S".into()), format!("{SECRET}, rotated"));
    assert_ne!(fingerprint(&yaml, &rotated), before);
}

#[test]
fn nothing_secret_is_shown() {
    let yaml = main_provider("    algorithms: [HS256]\n    secret: '${env:S}'\n");
    let shown = format!("{:?}", compile(&yaml, &resolved()).0);
    assert!(!shown.contains("secret of tests"), "{shown}");
    assert!(shown.contains("Fingerprint(..)"), "{shown}");
}

#[test]
fn without_any_configuration_the_known_headers_are_still_stripped() {
    assert_eq!(Providers::default().stripped().len(), 9);
    assert_eq!(compile("{}", &resolved()).0.stripped().len(), 9);
}

/// A provider that asks the issuer about every token.
const ASKS: &str = "    introspection:\n      url: https://issuer.test/i\n      clientId: g\n      \
                    clientSecret: '${env:S}'\n";

#[test]
fn a_provider_that_asks_the_issuer_needs_no_keys() {
    assert!(!problems(ASKS).iter().any(|line| line.contains("provider.keys")));
    assert!(!problems(ASKS).iter().any(|line| line.contains("provider.algorithms")));
    // With keys it needs algorithms, as everybody does; and two sources are no clearer.
    let both = format!("    jwksUrl: https://issuer.test/keys\n{ASKS}");
    assert!(problems(&both).contains(&format!("provider.algorithms {MAIN}.algorithms")));
    let two = format!("    algorithms: [RS256]\n    jwksFile: /ed.jwks\n{both}");
    assert!(problems(&two).contains(&format!("provider.keys {MAIN}")));
}

const MAIN: &str = "identityProviders.main";

#[test]
fn urls_of_discovery_follow_the_rules_of_key_sets() {
    let at = |code: &str| vec![format!("{code} {MAIN}.discoveryUrl")];
    let discovery =
        |url: &str| problems(&format!("    algorithms: [RS256]\n    discoveryUrl: {url}\n"));
    assert_eq!(discovery("ftp://issuer.test/"), at("provider.url"));
    assert_eq!(discovery("http://issuer.test/"), at("provider.cleartext"));
    assert_eq!(discovery("http://127.0.0.1:1/"), [""; 0]);
}

#[test]
fn how_a_set_is_kept_is_checked() {
    let jwks = |settings: &str| {
        let url = "    algorithms: [RS256]\n    jwksUrl: https://issuer.test/keys\n";
        problems(&format!("{url}    jwks: {settings}\n"))
    };
    for (settings, problem) in [
        ("{refresh: 500ms}", "provider.refresh identityProviders.main.jwks.refresh"),
        ("{minRefresh: 500ms}", "provider.refresh identityProviders.main.jwks.minRefresh"),
        ("{maxRefresh: 59s}", "provider.refresh identityProviders.main.jwks.maxRefresh"),
        ("{timeout: 0s}", "provider.timeout identityProviders.main.jwks.timeout"),
        ("{maxKeys: 0}", "provider.keys identityProviders.main.jwks.maxKeys"),
        ("{caFile: /rsa.pem}", "tls.certificate identityProviders.main.jwks.caFile"),
    ] {
        assert_eq!(jwks(settings), [problem], "{settings}");
    }
    for settings in
        ["{refresh: 1s}", "{minRefresh: 1s, maxRefresh: 1s}", "{maxRefresh: 60s}", "{maxKeys: 1}"]
    {
        assert_eq!(jwks(settings), [""; 0], "{settings}");
    }
}

#[test]
fn a_development_key_is_for_this_machine_alone() {
    use ring::signature::Ed25519KeyPair;
    let mut resolved = resolved();
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new()).unwrap();
    let pem = crate::auth::testing::pem(pkcs8.as_ref()).replace("PUBLIC", "PRIVATE");
    resolved.files.insert("/dev.pem".into(), pem.into());
    let provider = |algorithms: &str, file: &str| {
        main_provider(&format!("    algorithms: {algorithms}\n    developmentKeyFile: {file}\n"))
    };
    let listeners = |addresses: &[&str]| {
        let lines = addresses
            .iter()
            .enumerate()
            .map(|(n, address)| format!("  - {{name: l{n}, address: \"{address}\"}}\n"));
        format!("listeners:\n{}", lines.collect::<String>())
    };
    let good = provider("[EdDSA]", "/dev.pem");
    let at = format!("provider.development {MAIN}.developmentKeyFile");
    for (addresses, is_error) in [
        (&["127.0.0.1:80", "[::1]:80"][..], false),
        (&["127.0.0.1:80", "0.0.0.0:80"], true),
        (&["[::]:80"], true),
        (&["10.0.0.1:80"], true),
    ] {
        let yaml = listeners(addresses) + &good;
        let mut problems = crate::model::Problems::default();
        Providers::compile(&crate::auth::testing::config(&yaml), &resolved, &mut problems);
        let found: Vec<_> = problems
            .0
            .iter()
            .map(|p| {
                (format!("{} {}", p.code, p.path), p.severity == crate::model::Severity::Error)
            })
            .collect();
        assert_eq!(found, [(at.clone(), is_error)], "{addresses:?}");
    }
    let wrong = compile(&provider("[EdDSA, RS256]", "/dev.pem"), &resolved).1;
    assert!(wrong.contains(&format!("provider.algorithms {MAIN}.algorithms")), "{wrong:?}");
    let wrong = compile(&provider("[EdDSA]", "/rsa.pem"), &resolved).1;
    assert!(wrong.contains(&format!("provider.keys {MAIN}.developmentKeyFile")), "{wrong:?}");
}
