//! The table as a whole: the rules one by one, then against a slow reference.

mod reference;
mod rules;

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::{Value, json};

use super::{Found, Table};
use crate::edge::{RequestView, Scheme};
use crate::model::{Config, Problems};

/// A configuration of routes `r0`, `r1`, … with these matches; `priority` may stand among them.
pub(super) fn config(matches: &[Value]) -> Config {
    let named = |(index, route): (usize, &Value)| {
        let mut route = route.clone();
        let keys = route.as_object_mut().unwrap();
        let priority = keys.shift_remove("priority").unwrap_or(json!(0));
        let name = keys.shift_remove("name").unwrap_or(json!(format!("r{index}")));
        json!({"name": name, "match": route, "priority": priority, "upstream": {"service": "s"}})
    };
    let routes: Vec<Value> = matches.iter().enumerate().map(named).collect();
    serde_json::from_value(json!({"routes": routes})).unwrap()
}

/// A table without problems.
pub(super) fn table(matches: &[Value]) -> Table {
    let mut problems = Problems::default();
    let table = Table::compile(&config(matches), &mut problems);
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
        }
    }

    pub(super) fn header(mut self, name: &'static str, value: &str) -> Self {
        let value = HeaderValue::from_str(value).unwrap();
        self.headers.append(HeaderName::from_static(name), value);
        self
    }

    pub(super) fn view(&self) -> RequestView<'_> {
        RequestView {
            method: &self.method,
            scheme: Scheme::Http,
            host: self.host.as_str().into(),
            path: self.path.as_str().into(),
            query: self.query.as_deref(),
            headers: &self.headers,
            client: IpAddr::from([127, 0, 0, 1]),
            peer_trusted: false,
        }
    }
}

/// What a table says: the name of a route, `405` with the methods, or `404`.
pub(super) fn answer(table: &Table, request: &Request) -> String {
    match table.find(&request.view()) {
        Found::Route(index) => {
            table.specs().iter().find(|spec| spec.index == index).unwrap().name.to_string()
        }
        Found::MethodNotAllowed(allow) => format!("405 {}", allow.to_str().unwrap()),
        Found::Nothing => "404".to_owned(),
    }
}
