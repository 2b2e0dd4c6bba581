//! `tidegate cache`.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::args::{CacheCommand, ExplainArgs, PurgeArgs, ShowArgs, WhyArgs};
use super::client::{Client, Method};
use super::page::{at, facts, table, text};
use super::{done, explain};

pub(super) fn cache(command: &CacheCommand) -> ExitCode {
    match command {
        CacheCommand::Purge(args) => done(purge(args)),
        CacheCommand::Show(args) => done(show(args)),
        CacheCommand::Why(args) => done(why(args)),
    }
}

fn purge(args: &PurgeArgs) -> Result<String, String> {
    let told = Client::of(&args.running)?.send_json("/admin/cache/purge", &order(args))?;
    if args.running.json {
        return Ok(format!("{told:#}\n"));
    }
    let heard = match (at(&told, "pending") == &Value::Bool(true), at(&told, "told").as_u64()) {
        (true, _) => "on this node; Redis does not answer, the others are told when it does".into(),
        (false, Some(1)) => "one node heard of it".into(),
        (false, Some(nodes)) => format!("{nodes} nodes heard of it"),
        (false, None) => "on this node".into(),
    };
    Ok(format!("purged, {heard}\n"))
}

/// The order as the admin listener takes it. A tenant alone means all that is its own.
fn order(args: &PurgeArgs) -> Value {
    let lists = [
        ("tags", &args.tags),
        ("keys", &args.keys),
        ("urls", &args.urls),
        ("prefixes", &args.prefixes),
        ("routes", &args.routes),
    ];
    let names_none = lists.iter().all(|(_, list)| list.is_empty()) && !args.everything;
    let mut order = serde_json::Map::new();
    for (name, list) in lists.iter().filter(|(_, list)| !list.is_empty()) {
        order.insert((*name).to_owned(), json!(list));
    }
    if let Some(tenant) = &args.tenant {
        let (name, value) =
            if names_none { ("tenants", json!([tenant])) } else { ("tenant", json!(tenant)) };
        order.insert(name.to_owned(), value);
    }
    for (name, is_set) in [("everything", args.everything), ("soft", args.soft)] {
        if is_set {
            order.insert(name.to_owned(), Value::Bool(true));
        }
    }
    Value::Object(order)
}

fn show(args: &ShowArgs) -> Result<String, String> {
    let client = Client::of(&args.running)?;
    let told = match &args.key {
        Some(key) => client.ask(Method::Get, &entry_of(key)?)?,
        None => client.ask(Method::Get, "/admin/cache")?,
    };
    if args.running.json {
        return Ok(format!("{told:#}\n"));
    }
    let mut page = members(&told);
    let routes = at(&told, "routes").as_array();
    if let Some(routes) = routes.filter(|routes| !routes.is_empty()) {
        let row = |route: &Value| {
            let ratio = at(route, "hitRatio").as_f64();
            let ratio = ratio.map_or("-".to_owned(), |ratio| format!("{:.1}%", ratio * 100.0));
            let count = |name| at(route, name).to_string();
            vec![text(at(route, "route")), count("hits"), count("lookups"), ratio]
        };
        let rows: Vec<Vec<String>> = routes.iter().map(row).collect();
        page.push('\n');
        page.push_str(&table(&["ROUTE", "HITS", "LOOKUPS", "RATIO"], &rows));
    }
    Ok(page)
}

/// Explains the request by the configuration, and asks the gateway for what it keeps under the
/// key.
fn why(args: &WhyArgs) -> Result<String, String> {
    let told = explain::explained(&assumed(args)?, is_https(&args.url))?;
    let entry = match told.cache.as_ref().and_then(|kept| kept.key.as_deref()) {
        Some(key) => {
            let found = Client::of(&args.running)?.find(&entry_of(key)?)?;
            Some(found.unwrap_or(Value::Null))
        }
        None => None,
    };
    if args.running.json {
        let all = json!({"request": told, "entry": entry});
        return Ok(format!("{all:#}\n"));
    }
    let mut rows = vec![vec!["route".to_owned(), told.route.as_deref().unwrap_or("-").to_owned()]];
    let mut say = |name: &str, value: String| rows.push(vec![name.to_owned(), value]);
    if let Some(refusal) = &told.refusal {
        say("refused", format!("{} {}", refusal.status, refusal.code));
    }
    match &told.cache {
        None => say("cache", "not used: the route keeps nothing".to_owned()),
        Some(kept) => match (&kept.key, kept.bypass) {
            (Some(key), _) => say("key", key.clone()),
            (None, why) => say("cache", format!("not used: {}", why.unwrap_or("-"))),
        },
    }
    for factor in told.cache.iter().flat_map(|kept| &kept.factors) {
        say("", format!("{} = {}", factor.name, factor.value));
    }
    if let Some(entry) = &entry {
        say("answer", verdict(entry));
    }
    let empty: [&str; 2] = ["", ""];
    let mut page = table(&empty, &rows).trim_start().to_owned();
    if let Some(entry) = entry.as_ref().filter(|entry| !entry.is_null()) {
        page.push('\n');
        page.push_str(&members(entry));
    }
    Ok(page)
}

/// What an entry is good for, in words.
fn verdict(entry: &Value) -> String {
    if entry.is_null() {
        return "this node keeps nothing under the key: the service is asked".to_owned();
    }
    match (at(entry, "purged").as_str(), at(entry, "fresh").as_bool()) {
        (Some("gone"), _) => "the entry was purged: the service is asked",
        (Some("confirm"), _) => {
            "the entry must be confirmed by the service: a purge may be unknown"
        }
        (Some("stale"), _) => "the entry was purged softly: it is stale",
        (_, Some(true)) => "the entry is fresh: it answers",
        _ => {
            "the entry is stale: it is confirmed by the service, or used as far as it may be stale"
        }
    }
    .to_owned()
}

fn assumed(args: &WhyArgs) -> Result<ExplainArgs, String> {
    let file = args.running.config.clone().ok_or("why needs --config FILE\n")?;
    let wrong = || format!("`{}` is not a URL such as https://shop.example.com/lamps\n", args.url);
    let (scheme, rest) = args.url.split_once("://").ok_or_else(wrong)?;
    if !["http", "https"].contains(&scheme) {
        return Err(wrong());
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (host, path) = rest.split_at_checked(end).ok_or_else(wrong)?;
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    Ok(ExplainArgs {
        file,
        method: args.method.clone(),
        host: host.to_owned(),
        path,
        headers: args.headers.clone(),
        token: args.token.clone(),
        caller: args.caller.clone(),
        client: args.client,
        all: false,
        json: false,
    })
}

fn is_https(url: &str) -> bool {
    url.starts_with("https://")
}

/// Where an entry is at the admin listener.
fn entry_of(key: &str) -> Result<String, String> {
    if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(format!("`{key}` is no key: 64 hexadecimal digits\n"));
    }
    Ok(format!("/admin/cache/entries/{key}"))
}

/// The plain members of an object, one a line.
fn members(object: &Value) -> String {
    let members = object.as_object().into_iter().flatten();
    let shown = members.filter(|(name, _)| *name != "routes");
    facts(&shown.map(|(name, value)| (name, text(value))).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::super::args::Running;
    use super::*;

    fn args() -> PurgeArgs {
        PurgeArgs {
            running: Running { admin: None, config: None, json: false },
            tags: Vec::new(),
            keys: Vec::new(),
            urls: Vec::new(),
            prefixes: Vec::new(),
            routes: Vec::new(),
            everything: false,
            tenant: None,
            soft: false,
        }
    }

    #[test]
    fn a_tenant_alone_is_a_target_and_beside_others_a_limit() {
        let tenant = || Some("acme".to_owned());
        assert_eq!(order(&PurgeArgs { tenant: tenant(), ..args() }), json!({"tenants": ["acme"]}));
        let tags = vec!["t".to_owned()];
        let both = PurgeArgs { tenant: tenant(), tags, soft: true, ..args() };
        assert_eq!(order(&both), json!({"tags": ["t"], "tenant": "acme", "soft": true}));
        let all = PurgeArgs { tenant: tenant(), everything: true, ..args() };
        assert_eq!(order(&all), json!({"tenant": "acme", "everything": true}));
        assert_eq!(order(&args()), json!({}));
    }

    #[test]
    fn keys_are_hexadecimal() {
        assert!(entry_of("00ff").is_ok());
        assert!(entry_of("").is_err() && entry_of("../x").is_err());
    }
}
