//! The table as a whole: the rules one by one, then against a slow reference.

mod callers;
mod naive;
mod random;
mod reference;
mod rules;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::{Value, json};
use tidegate_kit::GeoDatabase;

use super::{Caller, Found, RouteIndex, Table};
use crate::edge::{Identity, IdentityFacts, RequestView, Scheme};
use crate::model::{Config, Problems, Resolved};

/// The tenants of every configuration here: two have a host of their own.
const TENANTS: &str = r#"{
    "acme": {"status": "ACTIVE", "hosts": ["a.x"]},
    "globex": {"status": "ACTIVE", "hosts": ["c.x", "c.b.a.x"]},
    "initech": {"status": "ACTIVE"}
}"#;

static WORLD: LazyLock<Vec<u8>> = LazyLock::new(|| GeoDatabase::world().unwrap().to_bytes());

/// What a configuration refers to: the database of countries, as `world.mmdb`.
pub(super) fn resolved() -> Resolved {
    Resolved {
        files: HashMap::from([("world.mmdb".to_owned(), WORLD.clone())]),
        ..Resolved::default()
    }
}

/// A configuration of routes `r0`, `r1`, … with these matches; `priority`, `auth` and `name` may
/// stand among them.
pub(super) fn config(matches: &[Value]) -> Config {
    let named = |(index, route): (usize, &Value)| {
        let mut route = route.clone();
        let keys = route.as_object_mut().unwrap();
        let priority = keys.shift_remove("priority").unwrap_or(json!(0));
        let name = keys.shift_remove("name").unwrap_or(json!(format!("r{index}")));
        let auth = keys.shift_remove("auth").unwrap_or(json!("required"));
        json!({"name": name, "match": route, "priority": priority, "upstream": {"service": "s"},
            "policies": {"auth": auth}})
    };
    let routes: Vec<Value> = matches.iter().enumerate().map(named).collect();
    let tenants: Value = serde_json::from_str(TENANTS).unwrap();
    let geo = json!({"database": "world.mmdb"});
    serde_json::from_value(json!({"routes": routes, "tenants": tenants, "geo": geo})).unwrap()
}

/// A table and its problems.
pub(super) fn compile(matches: &[Value]) -> (Table, Problems) {
    let mut problems = Problems::default();
    let table = Table::compile(&config(matches), &resolved(), &mut problems);
    (table, problems)
}

/// A table without problems.
pub(super) fn table(matches: &[Value]) -> Table {
    let (table, problems) = compile(matches);
    assert_eq!(problems, Problems::default());
    table
}

/// A request as the tests write it.
#[derive(Clone, Debug)]
pub(super) struct Request {
    method: Method,
    host: String,
    path: String,
    query: Option<String>,
    headers: HeaderMap,
    client: IpAddr,
    peer_trusted: bool,
}

impl Request {
    /// `GET a.example/path?query`.
    pub(super) fn new(text: &str) -> Self {
        let (method, target) = text.split_once(' ').unwrap();
        let (host, path) = target.split_at(target.find('/').unwrap());
        let (path, query) =
            path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        Self {
            method: method.parse().unwrap(),
            host: host.to_owned(),
            path: path.to_owned(),
            query: query.map(ToOwned::to_owned),
            headers: HeaderMap::new(),
            client: IpAddr::from([127, 0, 0, 1]),
            peer_trusted: false,
        }
    }

    pub(super) fn header(mut self, name: &'static str, value: &str) -> Self {
        let value = HeaderValue::from_str(value).unwrap();
        self.headers.append(HeaderName::from_static(name), value);
        self
    }

    pub(super) fn from(mut self, client: &str) -> Self {
        self.client = client.parse().unwrap();
        self
    }

    pub(super) const fn trusted(mut self) -> Self {
        self.peer_trusted = true;
        self
    }

    pub(super) fn view(&self) -> RequestView<'_> {
        RequestView {
            method: &self.method,
            scheme: Scheme::Http,
            host: self.host.as_str().into(),
            port: None,
            path: self.path.as_str().into(),
            query: self.query.as_deref(),
            headers: &self.headers,
            client: self.client,
            peer_trusted: self.peer_trusted,
            certificate: None,
        }
    }
}

/// A caller with this tenant and these claims of its token; of the facts, `plan` and `roles` are
/// set too.
pub(super) fn identity(tenant: Option<&str>, claims: Value) -> Arc<Identity> {
    let Value::Object(claims) = claims else { panic!("claims are an object") };
    let roles = claims.get("roles").and_then(Value::as_array);
    let roles = roles.into_iter().flatten().filter_map(Value::as_str);
    Arc::new(Identity::prove(IdentityFacts {
        tenant_id: tenant.map(Arc::from),
        plan: claims.get("plan").and_then(Value::as_str).map(Arc::from),
        roles: roles.map(Arc::from).collect(),
        claims: claims.into(),
        ..IdentityFacts::default()
    }))
}

/// What a table says: the name of a route, `405` with the methods, `403` or `404`. `prove` says
/// who the caller is to a route that asks; how often it was asked is returned too.
pub(super) fn ask(
    table: &Table,
    request: &Request,
    prove: impl Fn(RouteIndex) -> Option<Arc<Identity>>,
) -> (String, Caller) {
    let mut caller = Caller::default();
    let view = request.view();
    let answer = loop {
        break match table.find(&view, &caller) {
            Found::Route(index) => table.spec(index).unwrap().name.to_string(),
            Found::AskCaller(index) => {
                caller.learn(table.credentials(index).unwrap(), prove(index));
                continue;
            }
            Found::TenantRefused(_) => "403".to_owned(),
            Found::MethodNotAllowed(allow) => format!("405 {}", allow.to_str().unwrap()),
            Found::Nothing => "404".to_owned(),
        };
    };
    (answer, caller)
}

/// What a table says to somebody unknown, where it does not matter who calls.
pub(super) fn answer(table: &Table, request: &Request) -> String {
    ask(table, request, |index| panic!("{index:?} asks for the caller")).0
}
