use super::*;
use crate::auth::revocation::testing::{NOW, of_caller, of_provider, of_token};
use crate::edge::IdentityFacts;

fn identity(provider: &str, subject: &str, id: Option<&str>, issued_at: Option<u64>) -> Identity {
    Identity::prove(IdentityFacts {
        provider: provider.into(),
        subject: subject.into(),
        token_id: id.map(Into::into),
        issued_at,
        ..IdentityFacts::default()
    })
}

fn alice(issued_at: Option<u64>) -> Identity {
    identity("main", "alice", Some("t1"), issued_at)
}

fn index(records: &[Record]) -> Index {
    let index = Index::default();
    index.apply(records, NOW);
    index
}

#[test]
fn a_token_is_found_by_its_id_and_provider() {
    let index = index(&[of_token("t1")]);
    assert!(index.names(&alice(None), NOW));
    assert!(index.names(&identity("other", "bob", Some("t1"), Some(NOW)), NOW));
    for other in [Some("t2"), Some("T1"), Some(""), None] {
        assert!(!index.names(&identity("main", "alice", other, None), NOW), "{other:?}");
    }
    // Nobody is revoked because of who they are by a token's id.
    assert!(!index.names(&identity("t1", "t1", None, None), NOW));
    let mut of_main = of_token("t1");
    let provider = Some("main".to_owned());
    of_main.grounds = super::super::record::Grounds::Token { id: "t1".to_owned(), provider };
    let index = self::index(&[of_main]);
    assert!(index.names(&alice(None), NOW));
    assert!(!index.names(&identity("other", "alice", Some("t1"), None), NOW));
}

#[test]
fn a_caller_is_found_by_provider_and_subject() {
    let index = index(&[of_caller("alice", None)]);
    assert!(index.names(&alice(Some(NOW)), NOW));
    assert!(index.names(&identity("main", "alice", None, None), NOW));
    assert!(!index.names(&identity("other", "alice", None, None), NOW));
    assert!(!index.names(&identity("main", "bob", None, None), NOW));
}

#[test]
fn what_was_issued_before_a_time_is_refused_to_the_second() {
    for records in [[of_caller("alice", Some(NOW))], [of_provider("main", NOW)]] {
        let index = index(&records);
        assert!(index.names(&alice(Some(NOW - 1)), NOW));
        assert!(!index.names(&alice(Some(NOW)), NOW));
        assert!(!index.names(&alice(Some(NOW + 1)), NOW));
        assert!(index.names(&alice(None), NOW), "no time counts as long ago");
        assert!(!index.names(&identity("other", "alice", None, None), NOW));
    }
    assert!(index(&[of_provider("main", NOW)]).names(&identity("main", "x", None, None), NOW));
}

#[test]
fn it_ends_to_the_second_and_can_be_taken_back() {
    let record = of_caller("alice", None);
    let index = index(std::slice::from_ref(&record));
    assert!(index.names(&alice(None), record.expires_at - 1));
    assert!(!index.names(&alice(None), record.expires_at));
    let taken_back = Record { taken_back: true, ..record.clone() };
    index.apply([&taken_back], NOW);
    assert!(!index.names(&alice(None), NOW));
    index.apply([&record], NOW);
    assert!(index.names(&alice(None), NOW));
    index.apply([&record], record.expires_at);
    let is_empty = |shard: &ArcSwap<Shard>| shard.load().callers.is_empty();
    assert!(index.shards.iter().all(is_empty), "what is over leaves nothing behind");
}

#[test]
fn several_revocations_of_one_caller_stand_side_by_side() {
    let (old, all) = (of_caller("alice", Some(NOW - 100)), of_caller("alice", None));
    let index = index(&[old.clone(), of_caller("alice", Some(NOW - 50)), all.clone()]);
    assert!(index.names(&alice(Some(NOW)), NOW));
    index.apply([&Record { taken_back: true, ..all }], NOW);
    assert!(!index.names(&alice(Some(NOW)), NOW));
    assert!(index.names(&alice(Some(NOW - 51)), NOW));
    assert!(!index.names(&alice(Some(NOW - 50)), NOW));
}

#[test]
fn the_epoch_rises_with_what_may_refuse_somebody() {
    let index = Index::default();
    assert_eq!(index.epoch(), 0);
    index.apply([&of_token("a"), &of_token("b"), &of_caller("c", None)], NOW);
    assert_eq!(index.epoch(), 1);
    index.apply([&Record { taken_back: true, ..of_token("a") }], NOW);
    index.apply(&[], NOW);
    assert_eq!(index.epoch(), 1);
    index.apply([&of_token("a")], NOW);
    assert_eq!(index.epoch(), 2);
}

#[test]
fn readers_never_miss_what_was_put_in_force_before() {
    let index = Index::default();
    let last = AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 1..2000_u64 {
                index.apply([&of_token(&format!("t{n}"))], NOW);
                last.store(n, Ordering::SeqCst);
            }
        });
        scope.spawn(|| {
            while last.load(Ordering::SeqCst) < 1999 {
                let n = last.load(Ordering::SeqCst);
                if n > 0 {
                    let id = format!("t{n}");
                    assert!(index.names(&identity("main", "x", Some(&id), None), NOW), "{id}");
                }
            }
        });
    });
}
