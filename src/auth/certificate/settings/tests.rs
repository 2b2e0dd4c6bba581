use crate::auth::Providers;
use crate::auth::certificate::identify;
use crate::auth::testing::{compile, now};
use crate::edge::ClientCertificate;
use crate::model::Resolved;

/// A configuration with these `clientCertificates`.
fn with(settings: &str) -> (Providers, Vec<String>) {
    compile(
        &format!("tenants: {{acme: {{status: ACTIVE}}}}\nclientCertificates: {{{settings}}}\n"),
        &Resolved::default(),
    )
}

fn good(settings: &str) -> Providers {
    let (providers, problems) = with(settings);
    assert_eq!(problems, [""; 0], "{settings}");
    providers
}

fn names(list: &[&str]) -> Box<[Box<str>]> {
    list.iter().map(|name| Box::from(*name)).collect()
}

fn certificate(uris: &[&str]) -> ClientCertificate {
    ClientCertificate {
        subject: "CN=shop,O=Example".into(),
        common_name: Some("shop".into()),
        dns_names: names(&["shop.example"]),
        uris: names(uris),
        emails: names(&["shop@example.com"]),
        not_after: i64::MAX,
        ..ClientCertificate::default()
    }
}

/// The subject, or why there is none.
fn subject(providers: &Providers, certificate: &ClientCertificate) -> String {
    match identify(certificate, providers, now()) {
        Ok(identity) => identity.subject.to_string(),
        Err(refused) => {
            assert_eq!((refused.fault.status(), refused.headers.len()), (401, 1));
            format!("! {}", refused.hint.as_ref().unwrap().as_str())
        }
    }
}

const ID: &str = "spiffe://prod.example.com/payments";

#[test]
fn the_first_chosen_name_is_the_subject() {
    let cases = [
        ("subject: [uri]", ID),
        ("subject: [spiffe, dns]", ID),
        ("subject: [dns, spiffe]", "shop.example"),
        ("subject: [email]", "shop@example.com"),
        ("subject: [commonName]", "shop"),
        ("subject: [subject]", "CN=shop,O=Example"),
    ];
    for (settings, expected) in cases {
        assert_eq!(subject(&good(settings), &certificate(&[ID])), expected, "{settings}");
    }
    let bare = ClientCertificate { not_after: i64::MAX, ..ClientCertificate::default() };
    for settings in ["", "subject: [spiffe]"] {
        let told = subject(&good(settings), &bare);
        assert_eq!(told, "! the client certificate names nobody", "{settings}");
    }
}

#[test]
fn two_uris_are_no_spiffe_id_and_neither_is_a_name_that_looks_like_one() {
    let spiffe = good("subject: [spiffe]");
    let nobody = "! the client certificate names nobody";
    assert_eq!(subject(&spiffe, &certificate(&[ID, "https://a/"])), nobody);
    assert_eq!(subject(&spiffe, &certificate(&["spiffe://prod.example.com/"])), nobody);
    let usual = good("");
    assert_eq!(subject(&usual, &certificate(&[ID, "https://a/"])), "shop.example");
    assert_eq!(subject(&usual, &certificate(&["https://a/", ID])), "https://a/");
    assert_eq!(subject(&usual, &certificate(&["spiffe:x"])), "shop.example");
    // An authority may let its holders choose their common name.
    let mut forged = certificate(&[]);
    forged.common_name = Some(ID.into());
    assert_eq!(subject(&good("subject: [spiffe, commonName]"), &forged), nobody);
    forged.dns_names = names(&["SPIFFE://prod.example.com/payments"]);
    assert_eq!(subject(&usual, &forged), "CN=shop,O=Example");
}

#[test]
fn other_trust_domains_are_refused() {
    let providers = good("trustDomains: [prod.example.com, test.example.com]");
    assert_eq!(subject(&providers, &certificate(&[ID])), ID);
    let told = "! the client certificate is of a trust domain not accepted here";
    for uris in [
        &["spiffe://example.com/payments"][..],
        &["spiffe://prod.example.com.evil/payments"],
        &[ID, "https://a/"],
        &[],
    ] {
        assert_eq!(subject(&providers, &certificate(uris)), told, "{uris:?}");
    }
}

#[test]
fn callers_have_what_the_configuration_gives_them() {
    let caller = format!(
        "callers: {{'{ID}': {{tenantId: acme, plan: gold, scopes: [a, b], roles: [service], \
         products: [orders]}}}}"
    );
    let providers = good(&caller);
    let known = identify(&certificate(&[ID]), &providers, now()).unwrap();
    assert_eq!(known.tenant_id.as_deref(), Some("acme"));
    assert_eq!(known.tenant_status.as_deref(), Some("ACTIVE"));
    assert_eq!(known.plan.as_deref(), Some("gold"));
    let list = |list: &[std::sync::Arc<str>]| list.join(" ");
    assert_eq!(list(&known.scopes), "a b");
    assert_eq!((list(&known.roles), list(&known.products)), ("service".into(), "orders".into()));
    assert!(providers.certificates.grants("a") && !providers.certificates.grants("c"));

    let unlisted = certificate(&["spiffe://prod.example.com/other"]);
    let other = identify(&unlisted, &providers, now()).unwrap();
    assert!(other.scopes.is_empty() && other.tenant_id.is_none());
    let strict = good(&format!("{caller}, acceptUnlisted: false"));
    assert_eq!(subject(&strict, &certificate(&[ID])), ID);
    let told = "! the holder of the client certificate is not known here";
    assert_eq!(subject(&strict, &certificate(&["spiffe://prod.example.com/other"])), told);
}

#[test]
fn a_change_of_the_settings_ends_what_was_proved_on_open_connections() {
    let certificate = certificate(&[ID]);
    let scopes = |settings: &str| {
        let providers = good(settings);
        identify(&certificate, &providers, now()).map(|identity| identity.scopes.len())
    };
    let with = |scopes: &str| format!("callers: {{'{ID}': {{scopes: {scopes}}}}}");
    assert_eq!(scopes(&with("[a, b]")).unwrap(), 2);
    assert_eq!(scopes(&with("[a]")).unwrap(), 1);
    assert!(scopes("trustDomains: [test.example.com]").is_err());
    assert_eq!(scopes(&with("[a, b]")).unwrap(), 2);
}

#[test]
fn what_cannot_work_is_said_with_its_place() {
    let said = |settings: &str| with(settings).1;
    let at =
        |code: &str, place: &str| vec![format!("certificates.{code} clientCertificates.{place}")];
    assert_eq!(said("subject: []"), at("subject", "subject"));
    assert_eq!(said("subject: [dns, uri, dns]"), at("subject", "subject[2]"));
    for name in ["'spiffe://a'", "A", "''", "a:1", "a/b"] {
        let found = said(&format!("trustDomains: [b, {name}]"));
        assert_eq!(found, at("trust_domain", "trustDomains[1]"), "{name}");
    }
    assert_eq!(said("trustDomains: [a, a]"), at("trust_domain", "trustDomains[1]"));
    assert_eq!(said("acceptUnlisted: false"), at("nobody", "acceptUnlisted"));
    assert_eq!(
        said("callers: {shop: {scopes: [a, 'b c']}}"),
        at("scope", "callers.\"shop\".scopes[1]")
    );
    assert_eq!(said("callers: {'': {}}"), at("caller", "callers.\"\""));
    assert_eq!(said("callers: {shop: {roles: ['a,b']}}"), at("caller", "callers.\"shop\""));
    let warned = |settings: &str, key: &str| {
        assert_eq!(said(settings), at("caller", &format!("callers.{key:?}")), "{settings}");
        assert_eq!(said(&settings.replace(key, "shop")), [""; 0], "{settings}");
    };
    warned("callers: {'spiffe://a/': {}}", "spiffe://a/");
    warned("callers: {'SPIFFE://a/b': {}}", "SPIFFE://a/b");
    warned("subject: [dns], callers: {'spiffe://a/b': {}}", "spiffe://a/b");
    warned("trustDomains: [b], callers: {'spiffe://a/b': {}}", "spiffe://a/b");
    assert_eq!(said("trustDomains: [a], callers: {'spiffe://a/b': {}}"), [""; 0]);
}
