//! What holds of either database.

use tokio::task::LocalSet;

use super::*;

/// Runs all cases, each with a database of its own, which `fresh` makes.
pub(super) async fn run(fresh: impl AsyncFn(&str) -> DatabaseSettings) {
    nothing_is_there_at_first(&fresh("first").await).await;
    keys_are_made_found_and_revoked(&fresh("keys").await).await;
    expiry_has_two_sides(&fresh("expiry").await).await;
    rotation_leaves_the_old_key_its_grace(&fresh("grace").await).await;
    rotation_without_grace_ends_the_old_key(&fresh("no-grace").await).await;
    a_key_has_one_good_successor(&fresh("successor").await).await;
    tenants_come_change_and_go(&fresh("tenants").await).await;
    any_text_is_text(&fresh("text").await).await;
    long_lists_come_whole(&fresh("lists").await).await;
    writers_do_not_disturb_each_other(&fresh("writers").await).await;
    other_tables_are_refused(&fresh("tables").await).await;
    a_row_that_is_not_understood_proves_nothing(&fresh("rows").await).await;
}

async fn nothing_is_there_at_first(settings: &DatabaseSettings) {
    let database = Database::new(settings).unwrap();
    let registry = registry(settings);
    let absent = "`tidegate keys create` makes";
    assert!(message(database.find_key(&[7; 32]).await).contains(absent));
    assert!(message(database.find_tenant("acme").await).contains(absent));
    assert!(message(registry.revoke("key_a", NOW).await).contains(absent));
    assert!(message(registry.remove_tenant("acme", NOW).await).contains(absent));
    assert!(message(registry.keys(&KeyFilter::default()).await).contains(absent));
    // Nobody made anything by asking.
    assert!(message(registry.tenants().await).contains(absent));
    registry.set_tenant("acme", "ACTIVE", NOW).await.unwrap();
    assert_eq!(database.find_key(&[7; 32]).await.unwrap(), None);
    assert_eq!(database.find_tenant("acme").await.unwrap().as_deref(), Some("ACTIVE"));
}

async fn keys_are_made_found_and_revoked(settings: &DatabaseSettings) {
    let new = NewKey {
        client_id: "billing".to_owned(),
        tenant_id: Some("acme".to_owned()),
        plan: Some("gold".to_owned()),
        scopes: vec!["orders:read".to_owned(), "orders:write".to_owned()],
        roles: vec!["admin".to_owned()],
        products: vec!["orders".to_owned()],
        expires_at: Some(NOW + 10),
    };
    let issued = make(settings, &new).await;
    let other = make(settings, &client("other")).await;
    let database = Database::new(settings).unwrap();
    let hash = secret().hash(issued.text.reveal());
    let found = database.find_key(&hash).await.unwrap().unwrap();
    assert_eq!(found, issued.stored.record);
    assert_eq!(
        (found.client_id.as_str(), found.tenant_id.as_deref(), found.plan.as_deref()),
        ("billing", Some("acme"), Some("gold"))
    );
    assert_eq!(found.scopes, new.scopes);
    assert_eq!((&found.roles, &found.products), (&new.roles, &new.products));
    assert_eq!((found.active, found.created_at, found.expires_at), (true, NOW, Some(NOW + 10)));
    assert!(found.id.starts_with("key_") && found.id.len() == 16, "{}", found.id);
    let plain = database.find_key(&other.stored.hash).await.unwrap().unwrap();
    assert_eq!((plain.tenant_id, plain.plan, plain.expires_at), (None, None, None));
    assert_eq!(database.find_key(&[0; 32]).await.unwrap(), None);
    // Under another secret the same key is another one.
    let stranger = HashKey::new(&"x".repeat(32)).unwrap().hash(issued.text.reveal());
    assert_eq!(database.find_key(&stranger).await.unwrap(), None);

    let registry = registry(settings);
    for _ in 0..2 {
        let revoked = registry.revoke(&found.id, NOW + 1).await.unwrap();
        assert_eq!((revoked.hash, revoked.record.active), (hash, false));
    }
    assert!(!database.find_key(&hash).await.unwrap().unwrap().active);
    assert!(database.find_key(&other.stored.hash).await.unwrap().unwrap().active);
    let absent = registry.revoke("key_absent", NOW).await;
    assert!(matches!(absent, Err(RegistryError::NoSuchKey)), "{absent:?}");
    assert!(matches!(registry.show("key_absent").await, Err(RegistryError::NoSuchKey)));

    let (shown, history) = registry.show(&found.id).await.unwrap();
    assert_eq!(shown.record, KeyRecord { active: false, ..found });
    let told: Vec<_> = history.iter().map(|event| (event.at, event.action.as_str())).collect();
    assert_eq!(told, [(NOW, "key.create"), (NOW + 1, "key.revoke"), (NOW + 1, "key.revoke")]);
    assert!(history.iter().all(|event| event.actor == "tester"));

    let list = async |client: Option<&str>, tenant: Option<&str>| {
        let wanted = KeyFilter {
            client_id: client.map(ToOwned::to_owned),
            tenant_id: tenant.map(ToOwned::to_owned),
        };
        let keys = registry.keys(&wanted).await.unwrap();
        let mut names: Vec<_> = keys.into_iter().map(|key| key.record.client_id).collect();
        names.sort();
        names.join(" ")
    };
    assert_eq!(list(None, None).await, "billing other");
    assert_eq!(list(Some("other"), None).await, "other");
    assert_eq!(list(None, Some("acme")).await, "billing");
    assert_eq!(list(Some("other"), Some("acme")).await, "");
}

async fn expiry_has_two_sides(settings: &DatabaseSettings) {
    let new = NewKey { expires_at: Some(NOW + 10), ..client("a") };
    let issued = make(settings, &new).await;
    let found = Database::new(settings).unwrap().find_key(&issued.stored.hash).await;
    let found = found.unwrap().unwrap();
    assert!(found.is_good(NOW) && found.is_good(NOW + 10));
    assert!(!found.is_good(NOW + 11));
    let unlimited = KeyRecord { expires_at: None, ..found.clone() };
    assert!(unlimited.is_good(u64::MAX));
    assert!(!KeyRecord { active: false, ..unlimited }.is_good(NOW));

    let registry = registry(settings);
    let id = &found.id;
    let late = registry.rotate(&secret(), id, Duration::from_secs(1), None, NOW + 11).await;
    assert!(matches!(late, Err(RegistryError::NotGood)), "{late:?}");
    let grace = Duration::from_mins(1);
    let last = registry.rotate(&secret(), id, grace, None, NOW + 10).await.unwrap();
    // The grace does not make it live longer than it was made to.
    assert_eq!(last.old.record.expires_at, Some(NOW + 10));
}

async fn rotation_leaves_the_old_key_its_grace(settings: &DatabaseSettings) {
    let new = NewKey {
        scopes: vec!["a".to_owned()],
        products: vec!["p".to_owned()],
        tenant_id: Some("acme".to_owned()),
        expires_at: Some(NOW + 1_000),
        ..client("billing")
    };
    let first = make(settings, &new).await;
    let id = &first.stored.record.id;
    let registry = registry(settings);
    let grace = Duration::from_mins(1);
    let rotated = registry.rotate(&secret(), id, grace, None, NOW + 100).await.unwrap();
    assert_eq!(rotated.old.hash, first.stored.hash);
    let issued = &rotated.issued;
    assert_ne!(issued.text, first.text);
    assert_eq!(issued.stored.rotated_from.as_deref(), Some(id.as_str()));

    let database = Database::new(settings).unwrap();
    let old = database.find_key(&first.stored.hash).await.unwrap().unwrap();
    assert_eq!(old, rotated.old.record);
    assert!(old.is_good(NOW + 160) && !old.is_good(NOW + 161));
    let hash = secret().hash(issued.text.reveal());
    let successor = database.find_key(&hash).await.unwrap().unwrap();
    assert_ne!(&successor.id, id);
    // The same rights, and as long a life.
    let expected = KeyRecord {
        id: successor.id.clone(),
        created_at: NOW + 100,
        expires_at: Some(NOW + 1_100),
        ..first.stored.record.clone()
    };
    assert_eq!(successor, expected);
    let (_, history) = registry.show(id).await.unwrap();
    let told: Vec<_> = history.iter().map(|event| event.action.as_str()).collect();
    assert_eq!(told, ["key.create", "key.rotate"]);
}

async fn rotation_without_grace_ends_the_old_key(settings: &DatabaseSettings) {
    let first = make(settings, &client("billing")).await;
    let id = &first.stored.record.id;
    let registry = registry(settings);
    let none = Duration::ZERO;
    let until = Some(NOW + 5);
    let rotated = registry.rotate(&secret(), id, none, until, NOW).await.unwrap();
    assert_eq!(rotated.issued.stored.record.expires_at, until);
    let database = Database::new(settings).unwrap();
    let old = database.find_key(&first.stored.hash).await.unwrap().unwrap();
    assert!(!old.is_good(NOW));
    let again = registry.rotate(&secret(), id, none, None, NOW).await;
    assert!(matches!(again, Err(RegistryError::NotGood)), "{again:?}");
    let absent = registry.rotate(&secret(), "key_absent", none, None, NOW).await;
    assert!(matches!(absent, Err(RegistryError::NoSuchKey)), "{absent:?}");
    assert_eq!(registry.keys(&KeyFilter::default()).await.unwrap().len(), 2);
}

async fn a_key_has_one_good_successor(settings: &DatabaseSettings) {
    let first = make(settings, &client("billing")).await;
    let id = first.stored.record.id.clone();
    let grace = Duration::from_mins(1);
    let locals = LocalSet::new();
    let tries: Vec<_> = (0..5)
        .map(|_| {
            let (registry, id) = (registry(settings), id.clone());
            locals
                .spawn_local(async move { registry.rotate(&secret(), &id, grace, None, NOW).await })
        })
        .collect();
    locals.await;
    let mut made = Vec::new();
    for done in tries {
        match done.await.unwrap() {
            Ok(rotated) => made.push(rotated.issued.stored.record.id),
            Err(RegistryError::RotatedAlready(successor)) => assert!(successor.starts_with("key_")),
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(made.len(), 1, "{made:?}");
    // Lost before anybody wrote it down: it is revoked, and there may be another one.
    let registry = registry(settings);
    registry.revoke(&made[0], NOW).await.unwrap();
    registry.rotate(&secret(), &id, grace, None, NOW).await.unwrap();
}

async fn tenants_come_change_and_go(settings: &DatabaseSettings) {
    let registry = registry(settings);
    registry.set_tenant("acme", "ACTIVE", NOW).await.unwrap();
    registry.set_tenant("Acme", "TRIAL", NOW).await.unwrap();
    registry.set_tenant("acme", "SUSPENDED", NOW + 1).await.unwrap();
    let database = Database::new(settings).unwrap();
    assert_eq!(database.find_tenant("acme").await.unwrap().as_deref(), Some("SUSPENDED"));
    assert_eq!(database.find_tenant("Acme").await.unwrap().as_deref(), Some("TRIAL"));
    for absent in ["ACME", "", "acme ", "acm", "acme%", "ac\0me", "acme\0"] {
        assert_eq!(database.find_tenant(absent).await.unwrap(), None, "{absent:?}");
    }
    let mut tenants = registry.tenants().await.unwrap();
    tenants.sort_by(|a, b| a.id.cmp(&b.id));
    let told: Vec<_> =
        tenants.iter().map(|t| (t.id.as_str(), t.status.as_str(), t.updated_at)).collect();
    assert_eq!(told, [("Acme", "TRIAL", NOW), ("acme", "SUSPENDED", NOW + 1)]);
    registry.remove_tenant("acme", NOW).await.unwrap();
    assert_eq!(database.find_tenant("acme").await.unwrap(), None);
    assert!(database.find_tenant("Acme").await.unwrap().is_some());
    let absent = registry.remove_tenant("acme", NOW).await;
    assert!(matches!(absent, Err(RegistryError::NoSuchTenant)), "{absent:?}");
}

async fn any_text_is_text(settings: &DatabaseSettings) {
    let long = "x".repeat(2_000);
    let registry = registry(settings);
    let database = Database::new(settings).unwrap();
    let texts = [
        "Müller & Söhne",
        "会社 🦀",
        "e\u{301}",
        "x'; DROP TABLE api_keys; --",
        "\" OR \"\"=\"",
        "$1",
        "?1 :a @b",
        "back\\slash\\'",
        "%_",
        "NULL",
        "{BYTES}",
        "line\nbreak\ttab",
        "[\"a\"]",
        &long,
    ];
    for text in texts {
        let list = vec![text.to_owned(), String::new()];
        let new = NewKey {
            tenant_id: Some(text.to_owned()),
            plan: Some(text.to_owned()),
            scopes: list.clone(),
            roles: list.clone(),
            products: list,
            ..client(text)
        };
        let issued = make(settings, &new).await;
        let found = database.find_key(&issued.stored.hash).await.unwrap().unwrap();
        assert_eq!(found, issued.stored.record);
        let wanted =
            KeyFilter { client_id: Some(text.to_owned()), tenant_id: Some(text.to_owned()) };
        assert_eq!(registry.keys(&wanted).await.unwrap(), [issued.stored]);
        registry.set_tenant(text, text, NOW).await.unwrap();
        assert_eq!(database.find_tenant(text).await.unwrap().as_deref(), Some(text));
        let absent = registry.revoke(text, NOW).await;
        assert!(matches!(absent, Err(RegistryError::NoSuchKey)), "{absent:?}");
    }
    assert_eq!(registry.keys(&KeyFilter::default()).await.unwrap().len(), texts.len());
    assert_eq!(registry.tenants().await.unwrap().len(), texts.len());
}

async fn long_lists_come_whole(settings: &DatabaseSettings) {
    let registry = registry(settings);
    registry.set_tenant("a", "ACTIVE", NOW).await.unwrap();
    make(settings, &client("a")).await;
    sql(
        settings,
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) \
         INSERT INTO tenants (id, status, updated_at) SELECT 't' || i, 'ACTIVE', 0 FROM n",
    )
    .await;
    let tenants = registry.tenants().await.unwrap();
    assert_eq!(tenants.len(), 1_001);
    let names: std::collections::HashSet<_> = tenants.iter().map(|t| &t.id).collect();
    assert_eq!(names.len(), 1_001);
    assert_eq!(registry.keys(&KeyFilter::default()).await.unwrap().len(), 1);
}

/// The first of them make the tables, all at once.
async fn writers_do_not_disturb_each_other(settings: &DatabaseSettings) {
    let locals = LocalSet::new();
    let writers: Vec<_> = (0..6)
        .map(|writer| {
            let settings = settings.clone();
            locals.spawn_local(async move {
                for _ in 0..3 {
                    make(&settings, &client(&format!("client-{writer}"))).await;
                    let registry = registry(&settings);
                    registry.set_tenant("shared", &writer.to_string(), NOW).await.unwrap();
                }
            })
        })
        .collect();
    locals.await;
    for writer in writers {
        writer.await.unwrap();
    }
    let registry = registry(settings);
    let keys = registry.keys(&KeyFilter::default()).await.unwrap();
    assert_eq!(keys.len(), 18);
    let ids: std::collections::HashSet<_> = keys.iter().map(|key| &key.record.id).collect();
    assert_eq!(ids.len(), 18);
    assert_eq!(registry.tenants().await.unwrap().len(), 1);
}

async fn other_tables_are_refused(settings: &DatabaseSettings) {
    let issued = make(settings, &client("a")).await;
    let database = Database::new(settings).unwrap();
    assert!(database.find_key(&issued.stored.hash).await.unwrap().is_some());
    sql(settings, "INSERT INTO schema_version (version) VALUES (2)").await;
    // A connection that was made before goes on; a new one does not.
    let late = Database::new(settings).unwrap();
    let newer = "version 2, made by a newer Tidegate; this program knows version 1";
    assert!(message(late.find_key(&issued.stored.hash).await).contains(newer));
    let registry = registry(settings);
    assert!(message(registry.create(&secret(), &client("b"), NOW).await).contains(newer));
    assert!(message(registry.revoke(&issued.stored.record.id, NOW).await).contains(newer));
    assert!(message(registry.keys(&KeyFilter::default()).await).contains(newer));
    sql(settings, "DELETE FROM schema_version WHERE version = 2").await;
    assert_eq!(registry.keys(&KeyFilter::default()).await.unwrap(), [issued.stored]);
}

async fn a_row_that_is_not_understood_proves_nothing(settings: &DatabaseSettings) {
    let issued = make(settings, &client("a")).await;
    let database = Database::new(settings).unwrap();
    let find = async || database.find_key(&issued.stored.hash).await;
    sql(settings, "UPDATE api_keys SET scopes = 'orders:read'").await;
    assert!(message(find().await).contains("not understood"));
    sql(settings, "UPDATE api_keys SET scopes = '[]', expires_at = -1").await;
    assert!(!find().await.unwrap().unwrap().is_good(1), "long past");
    sql(settings, "DELETE FROM api_keys").await;
    assert_eq!(find().await.unwrap(), None);
}
