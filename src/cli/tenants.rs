//! `tidegate tenants`.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::args::{SetTenant, Stored, TenantsCommand};
use super::page::table;
use super::store::{Store, failed, now, run, written};
use super::{err, out};
use crate::auth::Purge;

pub(super) fn tenants(command: &TenantsCommand) -> ExitCode {
    match command {
        TenantsCommand::Set(args) => run(&args.stored.config, async |store| set(args, store).await),
        TenantsCommand::List(args) => {
            run(&args.stored.config, async |store| list(&args.stored, store).await)
        }
        TenantsCommand::Remove(args) => {
            run(&args.stored.config, async |store| remove(&args.id, &args.stored, store).await)
        }
    }
}

async fn set(args: &SetTenant, store: &Store) -> Result<(), String> {
    let now = now();
    let done = store.registry.set_tenant(&args.id, &args.status, now).await;
    done.map_err(|error| failed(&args.id, &error))?;
    store.tell(Purge::Tenant(&args.id)).await;
    if args.stored.json {
        let tenant = json!({"id": args.id, "status": args.status, "updatedAt": written(now)});
        out(&format!("{:#}\n", json!({"tenant": tenant})));
    } else {
        err(&format!("{} is {}\n", args.id, args.status));
    }
    Ok(())
}

async fn list(stored: &Stored, store: &Store) -> Result<(), String> {
    let tenants = store.registry.tenants().await.map_err(|error| failed("tenants", &error))?;
    if stored.json {
        let tenants: Vec<Value> = tenants
            .iter()
            .map(|tenant| {
                let at = written(tenant.updated_at);
                json!({"id": tenant.id, "status": tenant.status, "updatedAt": at})
            })
            .collect();
        out(&format!("{:#}\n", json!({ "tenants": tenants })));
        return Ok(());
    }
    let rows: Vec<Vec<String>> = tenants
        .into_iter()
        .map(|tenant| vec![tenant.id, tenant.status, written(tenant.updated_at)])
        .collect();
    out(&table(&["ID", "STATUS", "SINCE"], &rows));
    Ok(())
}

async fn remove(id: &str, stored: &Stored, store: &Store) -> Result<(), String> {
    let done = store.registry.remove_tenant(id, now()).await;
    done.map_err(|error| failed("tenants", &error))?;
    store.tell(Purge::Tenant(id)).await;
    if stored.json {
        out(&format!("{:#}\n", json!({"removed": id})));
    } else {
        err("the tenant is removed\n");
    }
    Ok(())
}
