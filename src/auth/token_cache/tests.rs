use super::super::testing::now;
use super::*;
use crate::edge::IdentityFacts;

fn cache(entries: usize) -> TokenCache {
    TokenCache::new(entries, &Metrics::new().unwrap())
}

fn identity(subject: &str) -> Arc<Identity> {
    Arc::new(Identity::prove(IdentityFacts { subject: subject.into(), ..IdentityFacts::default() }))
}

fn binding(generation: u64) -> Binding {
    Binding { provider: ProviderIndex(0), fingerprint: Fingerprint::of(&[]), generation }
}

fn put(cache: &TokenCache, token: &str) {
    cache.put(token, binding(1), now().unix_seconds() + 10, &identity(token));
}

fn get(cache: &TokenCache, token: &str) -> Option<Arc<Identity>> {
    cache.get(token, now(), |_| true)
}

#[test]
fn what_was_put_is_found_and_nothing_else() {
    let cache = cache(64);
    put(&cache, "header.payload.signature-one");
    assert_eq!(
        &*get(&cache, "header.payload.signature-one").unwrap().subject,
        "header.payload.signature-one"
    );
    for other in ["header.payload.signature-two", "header.payload.signature-on", "", "x"] {
        assert!(get(&cache, other).is_none(), "{other}");
    }
    assert_eq!((cache.hits.get(), cache.misses.get(), cache.refused.get()), (1, 4, 0));
}

#[test]
fn the_whole_token_is_compared_not_its_hash() {
    let cache = cache(64);
    // Both have the same last bytes and so the same tag.
    let tail = "s".repeat(HASHED_BYTES);
    let (one, two) = (format!("admin.{tail}"), format!("guest.{tail}"));
    assert_eq!(cache.tag(&one), cache.tag(&two));
    put(&cache, &one);
    assert!(get(&cache, &two).is_none());
    put(&cache, &two);
    assert_eq!(&*get(&cache, &one).unwrap().subject, one);
    assert_eq!(&*get(&cache, &two).unwrap().subject, two);
}

#[test]
fn a_token_is_dead_after_its_last_second() {
    let cache = cache(64);
    let end = now().unix_seconds() + 10;
    let at = |seconds: u64, ms: u64| Moment { unix_ms: seconds * 1000 + ms, ..now() };
    cache.put("t", binding(1), end, &identity("t"));
    assert!(cache.get("t", at(end, 999), |_| true).is_some());
    assert!(cache.get("t", at(end + 1, 0), |_| true).is_none());
    // It is gone, not only hidden.
    assert!(cache.get("t", at(end, 0), |_| true).is_none());
}

#[test]
fn a_proof_whose_ground_is_gone_is_refused_and_can_be_renewed() {
    let cache = cache(64);
    put(&cache, "t");
    assert!(cache.get("t", now(), |binding| binding.generation == 2).is_none());
    assert_eq!((cache.refused.get(), cache.misses.get()), (1, 0));
    cache.put("t", binding(2), now().unix_seconds() + 10, &identity("renewed"));
    let found = cache.get("t", now(), |binding| binding.generation == 2).unwrap();
    assert_eq!(&*found.subject, "renewed");
    let kept = cache.slots.iter().filter(|slot| slot.entry.load().is_some()).count();
    assert_eq!(kept, 1, "renewed in its place");
}

#[test]
fn the_bound_holds_for_any_number_of_tokens() {
    for entries in [0, 1, 3, 8, 9, 64, 100] {
        let cache = cache(entries);
        for n in 0..2000 {
            put(&cache, &format!("token-{n}"));
        }
        let kept = cache.slots.iter().filter(|slot| slot.entry.load().is_some()).count();
        assert!(kept <= entries && kept + WAYS > entries, "{kept} of {entries}");
    }
}

#[test]
fn tokens_in_use_survive_a_flood_of_others() {
    let cache = cache(WAYS);
    for n in 0..4 {
        put(&cache, &format!("regular-{n}"));
    }
    for n in 0..10_000 {
        for regular in 0..4 {
            assert!(get(&cache, &format!("regular-{regular}")).is_some(), "after {n}");
        }
        put(&cache, &format!("stranger-{n}"));
    }
}

#[test]
fn many_threads_see_only_identities_of_their_own_token() {
    let cache = cache(16);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let cache = &cache;
            scope.spawn(move || {
                for n in 0..5000 {
                    let token = format!("token-{}", (n * 7 + thread) % 40);
                    match get(cache, &token) {
                        Some(found) => assert_eq!(*found.subject, *token),
                        None => put(cache, &token),
                    }
                }
            });
        }
    });
}

#[test]
fn no_token_is_shown() {
    let cache = cache(8);
    put(&cache, "header.payload.signature");
    assert!(!format!("{cache:?}").contains("payload"));
}
