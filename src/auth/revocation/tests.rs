use std::time::Duration;

use serde_json::json;

use super::testing::{NOW, of_caller, of_token};
use super::*;
use crate::auth::testing::{after, now};
use crate::edge::IdentityFacts;

fn revocations(folder: Option<&Path>) -> (Revocations, Metrics) {
    let metrics = Metrics::new().unwrap();
    (Revocations::new(&metrics).kept_in(folder), metrics)
}

fn settings() -> Settings {
    Settings { vouchers: vec!["main".to_owned()], ..Settings::default() }
}

fn alice() -> Identity {
    let (provider, subject) = ("main".into(), "alice".into());
    Identity::prove(IdentityFacts { provider, subject, ..IdentityFacts::default() })
}

#[test]
fn an_unchanged_list_is_looked_at_once() {
    let (revocations, metrics) = revocations(None);
    revocations.adopt(&settings(), None);
    let alice = alice();
    assert!(!revocations.names(&alice, now()));
    revocations.merge([of_token("t")], now());
    assert_eq!(alice.cleared(), 0);
    assert!(!revocations.names(&alice, now()));
    assert_eq!(alice.cleared(), revocations.index.epoch());
    revocations.merge([of_caller("alice", None)], now());
    for _ in 0..3 {
        assert!(revocations.names(&alice, now()));
    }
    assert_eq!((metrics.revoked_refused.get(), metrics.revocations.get()), (3, 2));
    assert!(!revocations.names(&alice, after(3601)), "it has ended");
    assert_eq!(NOW, now().unix_seconds());
}

#[tokio::test(start_paused = true)]
async fn an_order_is_in_force_even_if_nobody_looks_after_the_list() {
    let (revocations, _) = revocations(None);
    revocations.adopt(&settings(), None);
    let body = json!({"provider": "main", "subject": "alice"}).to_string();
    let ordered = revocations.revoke(body.as_bytes(), now()).await.unwrap();
    assert!(!ordered.is_shared && !ordered.is_kept);
    assert!(revocations.names(&alice(), now()));
    let listed = revocations.listed();
    assert_eq!(listed["revocations"][0]["subject"], "alice");
    assert_eq!(listed["revocations"][0]["expiresAt"], "2027-01-16T08:00:00Z");
    let id = ordered.revocation["id"].as_str().unwrap();
    revocations.take_back(id, now()).await.unwrap();
    assert!(!revocations.names(&alice(), now()));
    assert_eq!(revocations.take_back(id, now()).await.unwrap_err(), Refused::Unknown);
    assert_eq!(revocations.listed(), json!({"revocations": []}));
}

#[tokio::test(start_paused = true)]
async fn a_full_list_says_so() {
    let (revocations, _) = revocations(None);
    let mut settings = settings();
    settings.written.max_entries = 1;
    revocations.adopt(&settings, None);
    let order = |id: &str| json!({"tokenId": id, "expiresAt": NOW + 60}).to_string();
    revocations.revoke(order("a").as_bytes(), now()).await.unwrap();
    let refused = revocations.revoke(order("b").as_bytes(), now()).await.unwrap_err();
    assert_eq!(refused, Refused::Full(1));
    // What is over makes room.
    let later = json!({"tokenId": "b"}).to_string();
    revocations.revoke(later.as_bytes(), after(60)).await.unwrap();
}

#[tokio::test]
async fn what_was_ordered_is_on_disk_and_read_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let (first, _) = revocations(Some(folder.path()));
    first.adopt(&settings(), None);
    let body = json!({"provider": "main", "subject": "alice"}).to_string();
    let moment = crate::clock::now();
    let nobody = |_: &crate::auth::news::News| {};
    let ordered = tokio::select! {
        ordered = first.revoke(body.as_bytes(), moment) => ordered,
        () = first.run(nobody) => unreachable!(),
    };
    let ordered = ordered.unwrap();
    assert!(ordered.is_kept && !ordered.is_shared);
    let (second, metrics) = revocations(Some(folder.path()));
    second.adopt(&settings(), None);
    assert!(second.names(&alice(), moment));
    assert_eq!(metrics.revocations.get(), 1);
}

#[tokio::test]
async fn a_disk_that_fails_is_told_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("not-a-folder");
    std::fs::write(&file, "").unwrap();
    let (revocations, _) = revocations(Some(&file));
    revocations.adopt(&settings(), None);
    let moment = crate::clock::now();
    let nobody = |_: &crate::auth::news::News| {};
    let ordered = tokio::select! {
        ordered = revocations.revoke(br#"{"tokenId": "t"}"#, moment) => ordered.unwrap(),
        () = revocations.run(nobody) => unreachable!(),
    };
    assert!(!ordered.is_kept);
    std::fs::remove_file(&file).unwrap();
    let kept = async {
        while !file.join("revocations.json").exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    // The next round tries again.
    let round = async {
        loop {
            revocations.changed.notify_one();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let both = async {
        tokio::select! { () = kept => {}, () = round => {} }
    };
    tokio::select! {
        done = tokio::time::timeout(Duration::from_secs(20), both) => done.unwrap(),
        () = revocations.run(nobody) => unreachable!(),
    }
}
