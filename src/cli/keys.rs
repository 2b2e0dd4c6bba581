//! `tidegate keys`.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use super::args::{CreateKey, Expiry, KeysCommand, ListKeys, OneKey, RotateKey};
use super::page::table;
use super::store::{Store, failed, is_writable, now, run, written};
use super::{err, out};
use crate::auth::{Happened, Issued, KeyFilter, KeyRecord, NewKey, Purge, StoredKey};

pub(super) fn keys(command: &KeysCommand) -> ExitCode {
    use KeysCommand::{Create, List, Revoke, Rotate, Show};
    // Here and not where the command line is parsed, for there the message would repeat it.
    if let Show(OneKey { id, .. }) | Revoke(OneKey { id, .. }) | Rotate(RotateKey { id, .. }) =
        command
        && !is_id(id)
    {
        err("that is not the id of a key, `key_` and letters, as `tidegate keys list` shows it\n");
        return ExitCode::from(2);
    }
    match command {
        Create(args) => run(&args.stored.config, async |store| create(args, store).await),
        List(args) => run(&args.stored.config, async |store| list(args, store).await),
        Show(args) => run(&args.stored.config, async |store| show(args, store).await),
        Revoke(args) => run(&args.stored.config, async |store| revoke(args, store).await),
        Rotate(args) => run(&args.stored.config, async |store| rotate(args, store).await),
    }
}

fn is_id(text: &str) -> bool {
    text.strip_prefix("key_").is_some_and(|letters| {
        !letters.is_empty() && letters.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

async fn create(args: &CreateKey, store: &Store) -> Result<(), String> {
    let now = now();
    let new = NewKey {
        client_id: args.client.clone(),
        tenant_id: args.tenant.clone(),
        plan: args.plan.clone(),
        scopes: args.scopes.clone(),
        roles: args.roles.clone(),
        products: args.products.clone(),
        expires_at: args.expires.map(|expiry| ends(expiry, now)).transpose()?,
    };
    let made = store.registry.create(store.hash_key()?, &new, now).await;
    let issued = made.map_err(|error| failed(&args.client, &error))?;
    reveal(&issued, args.stored.json, now);
    Ok(())
}

async fn list(args: &ListKeys, store: &Store) -> Result<(), String> {
    let now = now();
    let wanted = KeyFilter { client_id: args.client.clone(), tenant_id: args.tenant.clone() };
    let keys = store.registry.keys(&wanted).await.map_err(|error| failed("keys", &error))?;
    if args.stored.json {
        let keys: Vec<Value> = keys.iter().map(|key| as_json(key, now)).collect();
        out(&format!("{:#}\n", json!({ "keys": keys })));
        return Ok(());
    }
    let titles =
        ["ID", "PREFIX", "CLIENT", "TENANT", "PLAN", "SCOPES", "STATE", "CREATED", "EXPIRES"];
    let rows: Vec<Vec<String>> = keys.iter().map(|key| row(key, now)).collect();
    out(&table(&titles, &rows));
    Ok(())
}

async fn show(args: &OneKey, store: &Store) -> Result<(), String> {
    let now = now();
    let found = store.registry.show(&args.id).await;
    let (key, history) = found.map_err(|error| failed(&args.id, &error))?;
    if args.stored.json {
        let history: Vec<Value> = history.iter().map(happened).collect();
        out(&format!("{:#}\n", json!({"key": as_json(&key, now), "history": history})));
        return Ok(());
    }
    let record = &key.record;
    let facts = [
        ("id", record.id.clone()),
        ("prefix", format!("{}…", key.prefix)),
        ("client", record.client_id.clone()),
        ("tenant", or_dash(record.tenant_id.as_deref())),
        ("plan", or_dash(record.plan.as_deref())),
        ("scopes", record.scopes.join(" ")),
        ("roles", record.roles.join(", ")),
        ("products", record.products.join(", ")),
        ("state", state(record, now).to_owned()),
        ("created", written(record.created_at)),
        ("expires", record.expires_at.map_or_else(|| "-".to_owned(), written)),
        ("replaces", or_dash(key.rotated_from.as_deref())),
    ];
    let facts = facts.map(|(name, value)| vec![name.to_owned(), value]);
    let told = history
        .iter()
        .map(|event| vec![written(event.at), format!("{} by {}", event.action, event.actor)]);
    out(&table(&["KEY", ""], &facts));
    out("\n");
    out(&table(&["WHEN", "WHAT"], &told.collect::<Vec<_>>()));
    Ok(())
}

async fn revoke(args: &OneKey, store: &Store) -> Result<(), String> {
    let now = now();
    let revoked = store.registry.revoke(&args.id, now).await;
    let key = revoked.map_err(|error| failed(&args.id, &error))?;
    store.tell(Purge::Key(&key.hash)).await;
    if args.stored.json {
        out(&format!("{:#}\n", json!({"key": as_json(&key, now)})));
    } else {
        err(&format!("{} is revoked\n", args.id));
    }
    Ok(())
}

async fn rotate(args: &RotateKey, store: &Store) -> Result<(), String> {
    let now = now();
    let ends = args.expires.map(|expiry| ends(expiry, now)).transpose()?;
    let grace = whole_seconds(args.grace);
    if !is_writable(now.saturating_add(grace.as_secs())) {
        return Err("the grace does not end before the year 10000\n".to_owned());
    }
    let done = store.registry.rotate(store.hash_key()?, &args.id, grace, ends, now).await;
    let rotated = done.map_err(|error| failed(&args.id, &error))?;
    // The key is said before anything else can fail: nobody could ask for it again.
    reveal(&rotated.issued, args.stored.json, now);
    store.tell(Purge::Key(&rotated.old.hash)).await;
    match rotated.old.record.expires_at {
        Some(last) if rotated.old.record.active => {
            err(&format!("{} goes on until {}\n", args.id, written(last)));
        }
        _ => err(&format!("{} is revoked\n", args.id)),
    }
    Ok(())
}

/// Prints a new key, the one time that this is possible.
fn reveal(issued: &Issued, json: bool, now: u64) {
    if json {
        let key = as_json(&issued.stored, now);
        out(&format!("{:#}\n", json!({"secret": issued.text.reveal(), "key": key})));
    } else {
        out(&format!("{}\n", issued.text.reveal()));
    }
    let id = &issued.stored.record.id;
    err(&format!("This is {id}. It is not shown again: keep it in a safe place now.\n"));
}

/// The last second of a key that is to end so.
fn ends(expiry: Expiry, now: u64) -> Result<u64, String> {
    let last = match expiry {
        Expiry::In(span) => now.saturating_add(span.as_secs()),
        Expiry::At(at) => at,
    };
    if last <= now {
        return Err("--expires: that is not in the future\n".to_owned());
    }
    if !is_writable(last) {
        return Err("--expires: that is not before the year 10000\n".to_owned());
    }
    Ok(last)
}

/// Part of a second counts as a whole one: a grace must not vanish.
fn whole_seconds(span: Duration) -> Duration {
    let more = u64::from(span.subsec_nanos() > 0);
    Duration::from_secs(span.as_secs().saturating_add(more))
}

fn row(key: &StoredKey, now: u64) -> Vec<String> {
    let record = &key.record;
    vec![
        record.id.clone(),
        format!("{}…", key.prefix),
        record.client_id.clone(),
        or_dash(record.tenant_id.as_deref()),
        or_dash(record.plan.as_deref()),
        record.scopes.join(" "),
        state(record, now).to_owned(),
        written(record.created_at),
        record.expires_at.map_or_else(|| "-".to_owned(), written),
    ]
}

fn or_dash(text: Option<&str>) -> String {
    text.unwrap_or("-").to_owned()
}

fn state(record: &KeyRecord, now: u64) -> &'static str {
    match record {
        record if record.is_good(now) => "active",
        record if record.active => "expired",
        _ => "revoked",
    }
}

/// A key without the key: its hash is nobody's business either.
fn as_json(key: &StoredKey, now: u64) -> Value {
    let record = &key.record;
    json!({
        "id": record.id,
        "prefix": key.prefix,
        "clientId": record.client_id,
        "tenantId": record.tenant_id,
        "plan": record.plan,
        "scopes": record.scopes,
        "roles": record.roles,
        "products": record.products,
        "active": record.active,
        "state": state(record, now),
        "createdAt": written(record.created_at),
        "expiresAt": record.expires_at.map(written),
        "rotatedFrom": key.rotated_from,
    })
}

fn happened(event: &Happened) -> Value {
    json!({"at": written(event.at), "action": event.action, "by": event.actor})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_no_id() {
        assert!(is_id("key_abcdefghijkl"));
        for wrong in ["", "key_", "tg_abc", "key_a b", "key_\u{e4}", "abc"] {
            assert!(!is_id(wrong), "{wrong}");
        }
    }

    #[test]
    fn a_key_ends_in_the_future_that_can_be_written() {
        let at = |at: u64| ends(Expiry::At(at), 1000);
        assert!(at(1000).is_err());
        assert_eq!(at(1001), Ok(1001));
        assert_eq!(ends(Expiry::In(Duration::from_secs(1)), 1000), Ok(1001));
        assert!(ends(Expiry::In(Duration::from_millis(999)), 1000).is_err());
        assert!(ends(Expiry::In(Duration::from_secs(u64::MAX)), 1000).is_err());
        assert!(at(253_402_300_799).is_ok() && at(253_402_300_800).is_err());
    }

    #[test]
    fn part_of_a_second_is_a_second_of_grace() {
        let seconds = |ms: u64| whole_seconds(Duration::from_millis(ms)).as_secs();
        assert_eq!([0, 1, 999, 1000, 1001].map(seconds), [0, 1, 1, 1, 2]);
    }
}
