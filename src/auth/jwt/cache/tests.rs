use super::*;
use crate::auth::ProviderIndex;
use crate::auth::jwt::provider::Fingerprint;
use crate::auth::testing::{after, now};
use crate::edge::IdentityFacts;

fn cache(entries: usize) -> TokenCache {
    TokenCache::new(entries, &Metrics::new().unwrap())
}

fn identity(subject: &str) -> Arc<Identity> {
    Arc::new(Identity::prove(IdentityFacts { subject: subject.into(), ..IdentityFacts::default() }))
}

fn binding(generation: u64) -> Binding {
    let fingerprint = Fingerprint::of(&[]);
    Binding { provider: ProviderIndex(0), fingerprint, generation, key: None }
}

fn put(cache: &TokenCache, token: &str) {
    cache.put(token, binding(1), now().unix_seconds() + 10, &identity(token), now());
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
    cache.put("t", binding(1), end, &identity("t"), now());
    assert!(cache.get("t", at(end, 999), |_| true).is_some());
    assert!(cache.get("t", at(end + 1, 0), |_| true).is_none());
    // It is gone, not only hidden.
    assert!(cache.get("t", at(end, 0), |_| true).is_none());
    assert_eq!((cache.entries_shown.get(), cache.bytes_shown.get()), (0, 0));
}

#[test]
fn an_expired_token_is_the_first_to_leave() {
    let cache = cache(WAYS);
    let now = now();
    for n in 0..WAYS {
        let end = now.unix_seconds() + if n == 3 { 1 } else { 100 };
        cache.put(&format!("t{n}"), binding(1), end, &identity("t"), now);
    }
    // Even if it was used last.
    assert!(cache.get("t3", now, |_| true).is_some());
    cache.put("new", binding(1), after(100).unix_seconds(), &identity("t"), after(2));
    for n in 0..WAYS {
        assert_eq!(cache.get(&format!("t{n}"), after(2), |_| true).is_some(), n != 3, "{n}");
    }
    assert_eq!((cache.evicted.get(), cache.entries_shown.get()), (0, 8));
    for turned_away in [1, 1] {
        cache.put("newer", binding(1), after(100).unix_seconds(), &identity("t"), after(2));
        assert_eq!((cache.turned_away.get(), cache.entries_shown.get()), (turned_away, 8));
    }
    assert_eq!(cache.evicted.get(), 1);
}

#[test]
fn what_it_weighs_is_bounded_and_shown() {
    let heavy = |n: usize| {
        let claims = serde_json::json!({"list": vec![n; 1000]}).as_object().unwrap().clone().into();
        Arc::new(Identity::prove(IdentityFacts { claims, ..IdentityFacts::default() }))
    };
    let one = weight("token-0", &heavy(0));
    assert!(one > 1000 * size_of::<serde_json::Value>(), "{one}");
    let bytes_max = one * 20;
    let cache = TokenCache::within(1024, bytes_max, &Metrics::new().unwrap());
    for n in 0..500 {
        let end = now().unix_seconds() + 10;
        cache.put(&format!("token-{n}"), binding(1), end, &heavy(n), now());
        let held = |slot: &Slot| slot.entry.load().as_deref().map(|entry| entry.weight);
        let sum: usize = cache.slots.iter().filter_map(held).sum();
        assert!(sum <= bytes_max && sum == cache.bytes.load(Ordering::Relaxed), "{n}: {sum}");
        assert_eq!(cache.bytes_shown.get(), i64::try_from(sum).unwrap());
    }
    let kept = cache.slots.iter().filter(|slot| slot.entry.load().is_some()).count();
    assert!((1..=20).contains(&kept), "{kept}");
    assert_eq!(cache.entries_shown.get(), i64::try_from(kept).unwrap());
    // What is heavier than everything may be is not kept.
    let tiny = TokenCache::within(64, one - 1, &Metrics::new().unwrap());
    tiny.put("token-0", binding(1), now().unix_seconds() + 10, &heavy(0), now());
    assert!(get(&tiny, "token-0").is_none());
    assert_eq!(tiny.bytes.load(Ordering::Relaxed), 0);
}

#[test]
fn a_proof_whose_ground_is_gone_is_refused_and_can_be_renewed() {
    let cache = cache(64);
    put(&cache, "t");
    assert!(cache.get("t", now(), |binding| binding.generation == 2).is_none());
    assert_eq!((cache.refused.get(), cache.misses.get()), (1, 0));
    cache.put("t", binding(2), now().unix_seconds() + 10, &identity("renewed"), now());
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
fn tokens_that_come_once_displace_nobody() {
    let cache = cache(WAYS);
    for n in 0..WAYS {
        put(&cache, &format!("good-{n}"));
    }
    for n in 0..1000 {
        put(&cache, &format!("once-{n}"));
    }
    assert_eq!((cache.turned_away.get(), cache.evicted.get()), (1000, 0));
    for n in 0..WAYS {
        assert!(get(&cache, &format!("good-{n}")).is_some(), "{n}");
    }
    // One that comes again is kept, in the place of the only one that nobody asked for since.
    put(&cache, "idle");
    cache.slots[3].was_used.store(false, Ordering::Relaxed);
    put(&cache, "idle");
    assert_eq!(cache.evicted.get(), 1);
    assert!(get(&cache, "idle").is_some() && get(&cache, "good-3").is_none());
}

#[test]
fn what_is_renewed_need_not_come_twice() {
    let cache = TokenCache::within(WAYS, weight("t", &identity("t")), &Metrics::new().unwrap());
    put(&cache, "t");
    cache.put("t", binding(2), now().unix_seconds() + 10, &identity("u"), now());
    assert_eq!(&*get(&cache, "t").unwrap().subject, "u");
    put(&cache, "o");
    assert!(get(&cache, "o").is_none() && get(&cache, "t").is_some(), "weighs too much");
    put(&cache, "o");
    assert!(get(&cache, "o").is_some() && get(&cache, "t").is_none(), "came twice");
    assert_eq!(cache.turned_away.get(), 1);
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
    let held: Vec<usize> = cache
        .slots
        .iter()
        .filter_map(|slot| slot.entry.load().as_deref().map(|entry| entry.weight))
        .collect();
    assert_eq!(cache.entries_shown.get(), i64::try_from(held.len()).unwrap());
    assert_eq!(cache.bytes.load(Ordering::Relaxed), held.iter().sum::<usize>());
}

#[test]
fn no_token_is_shown() {
    let cache = cache(8);
    put(&cache, "header.payload.signature");
    assert!(!format!("{cache:?}").contains("payload"));
}
