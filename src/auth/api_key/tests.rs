use http::{HeaderMap, Method};

use super::*;
use crate::auth::database::key_text::checksum;
use crate::auth::question::{Answers, Denied, Question, Unavailable};
use crate::auth::testing::{Gate, after, compile, now, policy, said, view};
use crate::auth::{Evidence, KeyRing, Memory, Providers, authenticate};
use crate::clock::Moment;
use crate::edge::Identity;
use crate::fault::Reject;
use crate::model::{Resolved, Secret};
use crate::telemetry::Metrics;
use std::sync::Arc;

const KEYS: &str = "
apiKeys:
  - {id: partner, key: '${env:PARTNER}', tenantId: acme, plan: gold, scopes: [orders:read],
     roles: [clerk], products: [orders]}
  - {id: retired, key: '${env:RETIRED}', active: false}
tenants:
  acme: {status: ACTIVE}
";
const PARTNER: &str = "partner-key-0123456789";
const DATABASE: &str = "
database: {url: 'sqlite:/nowhere/keys.db', hashKey: 0123456789abcdef0123456789abcdef}
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

fn providers() -> Providers {
    providers_with("")
}

fn providers_with(more: &str) -> Providers {
    let values = [("PARTNER", PARTNER), ("RETIRED", "retired-key-0123456789")];
    let (providers, problems) = compile(&format!("{KEYS}{more}"), &resolved(&values));
    assert_eq!(problems, [""; 0]);
    providers
}

/// A request: its header lines, its query.
#[derive(Default)]
struct Request {
    headers: HeaderMap,
    query: Option<&'static str>,
}

impl Request {
    fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.append(name, value.parse().unwrap());
        self
    }

    fn query(self, query: &'static str) -> Self {
        Self { query: Some(query), ..self }
    }

    fn judge(&self, providers: &Providers) -> Result<Option<Arc<Identity>>, Reject> {
        let (metrics, keys) = (Metrics::new().unwrap(), KeyRing::default());
        let memory = Memory::with_tokens(1, &metrics);
        let answers = Answers::default();
        let evidence =
            Evidence { providers, keys: &keys, memory: &memory, answers: &answers, now: now() };
        let mut view = view(&Method::GET, &self.headers);
        view.query = self.query;
        identify(&view, &evidence, false).map_err(Reject::from)
    }
}

fn carrying(key: &str) -> Request {
    Request::default().header("x-api-key", key)
}

#[test]
fn a_key_proves_what_the_configuration_says_of_it() {
    let identity = carrying(PARTNER).judge(&providers()).unwrap().unwrap();
    assert_eq!((&*identity.provider, &*identity.subject), ("apiKeys", "partner"));
    assert_eq!(identity.api_key.as_deref(), Some("partner"));
    assert_eq!(identity.tenant_id.as_deref(), Some("acme"));
    assert_eq!(identity.tenant_status.as_deref(), Some("ACTIVE"));
    assert_eq!((&*identity.roles[0], &*identity.products[0]), ("clerk", "orders"));
    let header = |name: &str| {
        let found = identity.headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| value.to_str().unwrap())
    };
    assert_eq!(header("x-client-id"), Some("partner"));
    assert_eq!(header("x-client-plan"), Some("gold"));
    assert_eq!(header("x-auth-scopes"), Some("orders:read"));
    assert_eq!(header("x-user-email"), None);
}

#[test]
fn the_same_identity_is_handed_out_each_time() {
    let (providers, request) = (providers(), carrying(PARTNER));
    let (one, two) = (request.judge(&providers).unwrap(), request.judge(&providers).unwrap());
    assert!(Arc::ptr_eq(&one.unwrap(), &two.unwrap()));
}

#[test]
fn unknown_and_retired_keys_are_told_the_same() {
    let providers = providers();
    let refused = [
        carrying("retired-key-0123456789"),
        carrying("partner-key-012345678"),
        carrying("partner-key-01234567890"),
        carrying(""),
        Request::default().query("api_key"),
        Request::default().query("api_key="),
    ];
    for request in refused {
        let reject = request.judge(&providers).unwrap_err();
        assert_eq!(said(&reject), "auth.api_key_unknown: ", "{:?}", request.headers);
        assert_eq!(reject.headers[0].1, "ApiKey realm=\"tidegate\", header=\"x-api-key\"");
    }
    assert!(Request::default().judge(&providers).unwrap().is_none());
    assert!(carrying("x").judge(&Providers::default()).is_err());
}

/// R101: one key, in the header or in the query; more than one is no key.
#[test]
fn a_key_comes_one_way_and_once() {
    let providers = providers();
    let request = Request::default;
    for good in ["api_key=partner-key-0123456789", "a=1&api%5Fkey=partner%2dkey-0123456789&b"] {
        assert!(request().query(good).judge(&providers).unwrap().is_some(), "{good}");
    }
    for none in ["API_KEY=partner-key-0123456789", "key=partner-key-0123456789", "api_key2=x", ""] {
        assert!(request().query(none).judge(&providers).unwrap().is_none(), "{none}");
    }
    let twice = [
        carrying(PARTNER).header("x-api-key", PARTNER),
        carrying(PARTNER).query("api_key=partner-key-0123456789"),
        carrying(PARTNER).query("api_key="),
        request().query("api_key=partner-key-0123456789&api_key=partner-key-0123456789"),
    ];
    for request in twice {
        let reject = request.judge(&providers).unwrap_err();
        assert_eq!(said(&reject), "auth.api_key_unknown: ", "{:?}", request.query);
    }
}

#[test]
fn the_configuration_names_the_carriers() {
    let providers = providers_with("apiKeyCarriers: {header: X-Partner, query: ''}\n");
    assert!(carrying(PARTNER).judge(&providers).unwrap().is_none());
    let query = Request::default().query("api_key=partner-key-0123456789");
    assert!(query.judge(&providers).unwrap().is_none());
    let request = Request::default().header("x-partner", PARTNER);
    assert!(request.judge(&providers).unwrap().is_some());
    let reject = Request::default().header("x-partner", "x").judge(&providers).unwrap_err();
    assert_eq!(reject.headers[0].1, "ApiKey realm=\"tidegate\", header=\"x-partner\"");
    assert_eq!(providers.api_key_parameter(), None);
    assert_eq!(providers_with("").api_key_parameter().map(|name| &**name), Some("api_key"));
    assert_eq!(Providers::default().api_key_parameter(), None, "where there are no keys");
}

#[test]
fn carriers_that_cannot_be_meant_are_errors() {
    for (carriers, path) in [
        ("{header: Authorization}", "header"),
        ("{header: host}", "header"),
        ("{header: X-User-Id}", "header"),
        ("{header: ''}", "header"),
        ("{header: 'a b'}", "header"),
        ("{query: 'a b'}", "query"),
    ] {
        let yaml = format!("apiKeyCarriers: {carriers}");
        let mut told = compile(&yaml, &Resolved::default()).1;
        // The identity header of that name is reported too.
        told.retain(|line| !line.starts_with("identity_header."));
        assert_eq!(told, [format!("api_key.carrier apiKeyCarriers.{path}")], "{carriers}");
    }
}

#[test]
fn no_key_is_kept_or_shown() {
    let (one, other) = (providers(), providers());
    assert_eq!(format!("{:?}", one.api_keys.listed), "Listed(1)");
    let digests = |providers: &Providers| providers.api_keys.listed.digests();
    assert_ne!(digests(&one), digests(&other), "digests are worth nothing elsewhere");
}

#[test]
fn entries_that_cannot_be_meant_are_errors() {
    let long = "0123456789abcdef";
    let two = "apiKeys: [{id: a, key: '${env:A}'}, {id: ID, key: '${env:B}'}]";
    let both =
        |id: &str, b: &str| compile(&two.replace("ID", id), &resolved(&[("A", long), ("B", b)])).1;
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
    assert!(carrying("literal-key-of-a-demo").judge(&providers).unwrap().is_some());
}

#[test]
fn a_key_that_could_not_be_had_opens_nothing() {
    let (providers, problems) = compile("apiKeys: [{id: a, key: '${env:A}'}]", &resolved(&[]));
    assert_eq!(problems, [""; 0], "reported where references are resolved");
    assert!(providers.api_keys.is_configured());
    assert!(carrying("").judge(&providers).is_err());
}

/// A key of the form of ours; another one for each number.
fn ours(number: u32) -> String {
    let body = format!("tg_{number:032}");
    let sum = checksum(&body);
    body + &sum
}

fn record() -> KeyRecord {
    KeyRecord {
        id: "key_abc".to_owned(),
        client_id: "partner".to_owned(),
        tenant_id: Some("acme".to_owned()),
        plan: Some("gold".to_owned()),
        scopes: vec!["orders:read".to_owned(), "orders:write".to_owned()],
        roles: vec!["clerk".to_owned()],
        products: vec!["orders".to_owned()],
        active: true,
        created_at: now().unix_seconds(),
        expires_at: Some(after(60).unix_seconds()),
    }
}

type Heard = Result<Option<Arc<Holder>>, Unavailable>;

/// What is said to a key of the database, after this was heard of it.
fn said_of(gate: &Gate, key: &str, heard: Option<Heard>, now: Moment) -> Result<String, String> {
    let headers = carrying(key).headers;
    let answers = Answers { api_key: heard, ..Answers::default() };
    let view = view(&Method::GET, &headers);
    match authenticate(&gate.policy, &view, &gate.evidence(&answers, now)) {
        Ok(identity) => Ok(identity.unwrap().subject.to_string()),
        Err(Denied::Reject(reject)) => Err(reject.fault.code().to_owned()),
        Err(Denied::Ask(Question::ApiKey(hash))) => {
            assert_eq!(hash, gate.providers.database.as_ref().unwrap().hash(key));
            Err("asks".to_owned())
        }
        Err(Denied::Ask(other)) => panic!("{other:?}"),
    }
}

fn unknown() -> Result<String, String> {
    Err("auth.api_key_unknown".to_owned())
}

#[test]
fn only_keys_of_our_form_are_asked_about() {
    let gate = Gate::new(DATABASE, KeyRing::default());
    let key = ours(1);
    assert_eq!(said_of(&gate, &key, None, now()), Err("asks".to_owned()));
    let cut = &key[..key.len() - 1];
    for other in [cut, "tg_", "partner-key-0123456789", &key.replace("tg_", "tG_"), ""] {
        assert_eq!(said_of(&gate, other, None, now()), unknown(), "{other}");
    }
}

/// R102, R103: what the database says, and that its time is over.
#[test]
fn a_record_proves_its_holder_until_its_last_second() {
    let gate = Gate::new(DATABASE, KeyRing::default());
    let (key, holder) = (ours(1), Arc::new(Holder::new(record())));
    let heard = || Some(Ok(Some(Arc::clone(&holder))));
    assert_eq!(said_of(&gate, &key, heard(), now()), Ok("partner".to_owned()));
    assert_eq!(said_of(&gate, &key, heard(), after(60)), Ok("partner".to_owned()));
    assert_eq!(said_of(&gate, &key, heard(), after(61)), unknown());
    assert_eq!(said_of(&gate, &key, Some(Ok(None)), now()), unknown());
    assert!(Keys::value(KeyRecord { active: false, ..record() }).is_none());

    let identity = holder.identity(&gate.providers).unwrap();
    assert_eq!(&*identity.provider, "apiKeys");
    assert_eq!(identity.client_id.as_deref(), Some("partner"));
    assert_eq!(identity.api_key.as_deref(), Some("key_abc"));
    assert_eq!(identity.tenant_id.as_deref(), Some("acme"));
    assert_eq!(identity.tenant_status.as_deref(), Some("ACTIVE"));
    assert_eq!(identity.plan.as_deref(), Some("gold"));
    assert_eq!((identity.scopes.len(), &*identity.roles[0]), (2, "clerk"));
    assert_eq!(&*identity.products[0], "orders");
    let plan = identity.headers.iter().find(|(name, _)| name == "x-client-plan").unwrap();
    assert_eq!(plan.1, "gold");
    assert!(Arc::ptr_eq(&identity, &holder.identity(&gate.providers).unwrap()), "proved once");
    let renamed = format!("{DATABASE}identityHeaders: {{x-partner: clientId}}\n");
    let other = Gate::new(&renamed, KeyRing::default());
    assert_eq!(holder.identity(&other.providers).unwrap().headers[0].0, "x-partner");
}

/// The database holds what makes no sense: its fault, not the caller's.
#[test]
fn a_record_that_would_forge_a_header_is_an_outage() {
    let gate = Gate::new(DATABASE, KeyRing::default());
    for record in [
        KeyRecord { client_id: "a\r\nx-user-roles: admin".to_owned(), ..record() },
        KeyRecord { client_id: String::new(), ..record() },
        KeyRecord { scopes: vec!["a admin:full".to_owned()], ..record() },
    ] {
        let heard = Some(Ok(Some(Arc::new(Holder::new(record)))));
        let told = said_of(&gate, &ours(1), heard, now());
        assert_eq!(told, Err("auth.unavailable".to_owned()));
    }
}

#[test]
fn an_outage_is_503_and_never_401() {
    let gate = Gate::new(DATABASE, KeyRing::default());
    let headers = carrying(&ours(1)).headers;
    let answers = Answers { api_key: Some(Err(Unavailable)), ..Answers::default() };
    for mode in ["closed", "stale"] {
        let yaml = format!("auth: {{failureMode: {mode}}}");
        let policy = policy(&gate.providers, &yaml);
        let view = view(&Method::GET, &headers);
        let denied = authenticate(&policy, &view, &gate.evidence(&answers, now())).unwrap_err();
        let reject = Reject::from(denied);
        assert_eq!((reject.fault.status(), reject.retry_after_seconds()), (503, Some(5)));
    }
}
