//! Good tokens and key sets, changed at random: nothing panics, and nothing is accepted but what
//! was there before. `TIDEGATE_SEED` replays a run.

use fastrand::Rng;
use serde_json::json;

use crate::auth::KeyRing;
use crate::auth::jwt::jwks;
use crate::auth::jwt::token::{self, Decoded, Token};
use crate::auth::testing::{
    Gate, NOW, SECRET, Signer, bearer, claims, fetched_provider, key_set, main_provider, now, ring,
};
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};

/// Changed tokens and key sets in one run.
const TOKENS: usize = 100_000;
const KEY_SETS: usize = 20_000;

/// Pieces that mean something to some reader of tokens.
const WORDS: [&str; 16] = [
    ".",
    "..",
    "=",
    "==",
    "e30",
    "eyJhbGciOiJub25lIn0",
    "bnVsbA",
    " ",
    ",",
    "{",
    "\"",
    "AAAA",
    "-_",
    "+/",
    "%2e",
    "Bearer ",
];

fn random() -> Rng {
    let seed = std::env::var("TIDEGATE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("TIDEGATE_SEED={seed}");
    Rng::with_seed(seed)
}

/// Changes a text in one to four places.
fn mutate(text: &[u8], others: &[Vec<u8>], random: &mut Rng) -> Vec<u8> {
    let mut bytes = text.to_vec();
    for _ in 0..random.usize(1..=4) {
        let at = random.usize(..=bytes.len());
        let end = random.usize(at..=bytes.len().min(at + 40));
        match random.u8(..8) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.u8(..8),
            1 if at < bytes.len() => bytes[at] = random.u8(..),
            2 => drop(bytes.drain(at..end)),
            3 => bytes.truncate(at),
            4 => drop(bytes.splice(at..at, WORDS[random.usize(..WORDS.len())].bytes())),
            5 => {
                let piece = bytes[at..end].to_vec();
                let to = random.usize(..=bytes.len());
                drop(bytes.splice(to..to, piece));
            }
            6 => {
                // A piece of another good token in the place of this one's.
                let other = &others[random.usize(..others.len())];
                let piece = other.get(at..end.min(other.len())).unwrap_or_default().to_vec();
                drop(bytes.splice(at..end, piece));
            }
            _ if at < bytes.len() => bytes[at] = b"AQgw-_.09az"[random.usize(..11)],
            _ => {}
        }
    }
    bytes
}

fn show(gate: &Gate, token: &[u8]) -> bool {
    let Ok(value) = HeaderValue::from_bytes(&[b"Bearer ", token].concat()) else { return false };
    gate.ask(&HeaderMap::from_iter([(AUTHORIZATION, value)]), now()).is_ok()
}

#[test]
fn no_changed_token_is_accepted() {
    let mut random = random();
    let secret = format!("    algorithms: [HS256]\n    secret: {SECRET}\n");
    let (curve, edwards, rsa) = (Signer::new("ES256"), Signer::new("EdDSA"), Signer::new("RS256"));
    let keys = ring(&[curve.jwk("ec"), edwards.jwk("ed"), rsa.jwk("rsa")]);
    let gates = [
        Gate::new(&main_provider(&secret), KeyRing::default()),
        Gate::new(&fetched_provider("[ES256, EdDSA, RS256]"), keys),
    ];
    let whole = claims(&json!({"scope": "a b", "roles": ["x"], "exp": NOW + 100_000}));
    let other = claims(&json!({"sub": "user-2", "nested": {"a": [1, {"b": null}]}}));
    let mut good: Vec<(usize, Vec<u8>)> = Vec::new();
    for claims in [&whole, &other] {
        let hmac = Signer::new("HS256").token("HS256", None, claims);
        good.push((0, hmac.into_bytes()));
        for (signer, algorithm, kid) in
            [(&curve, "ES256", "ec"), (&edwards, "EdDSA", "ed"), (&rsa, "RS256", "rsa")]
        {
            good.push((1, signer.token(algorithm, Some(kid), claims).into_bytes()));
        }
    }
    let texts: Vec<Vec<u8>> = good.iter().map(|(_, token)| token.clone()).collect();
    for (gate, token) in &good {
        assert!(show(&gates[*gate], token), "a good token");
    }
    for _ in 0..TOKENS {
        let (gate, original) = &good[random.usize(..good.len())];
        let changed = mutate(original, &texts, &mut random);
        // Spaces around a token are the header's, and another good token is good.
        if texts.iter().any(|text| *text == changed.trim_ascii()) {
            continue;
        }
        assert!(!show(&gates[*gate], &changed), "{}", String::from_utf8_lossy(&changed));
        if let Ok(text) = std::str::from_utf8(&changed) {
            let _ = Decoded::of(text).map(|decoded| Token::read(&decoded).map(drop));
            let _ = token::glance(text);
        }
    }
}

#[test]
fn no_changed_key_set_lets_anybody_in() {
    let mut random = random();
    let (curve, edwards, rsa) = (Signer::new("ES256"), Signer::new("EdDSA"), Signer::new("RS256"));
    let sets = [
        key_set(&[curve.jwk("k1"), edwards.jwk("k2"), rsa.jwk("k3")]),
        key_set(&[Signer::new("ES384").jwk("k1"), Signer::new("EdDSA").jwk("k2")]),
    ];
    let evil = Signer::new("ES256").token("ES256", Some("k1"), &claims(&json!({})));
    let confused = Signer::Secret(sets[0].clone()).token("HS256", Some("k1"), &claims(&json!({})));
    let mut read = 0;
    for _ in 0..KEY_SETS {
        let changed = mutate(&sets[random.usize(..2)], &sets, &mut random);
        let Ok(keys) = jwks::read(&changed) else { continue };
        read += 1;
        assert!(!keys.is_empty() && keys.len() <= 6);
        let id = crate::auth::keyset::keyring::SetId {
            provider: "main".into(),
            url: crate::auth::testing::URL.into(),
            discovers: None,
        };
        let set = crate::auth::keyset::keyring::KeySet::fetched(keys, [0; 32], now());
        let gate = Gate::new(
            &fetched_provider("[ES256, EdDSA, RS256]"),
            KeyRing::default().with(&id, &std::sync::Arc::new(set)),
        );
        for token in [&evil, &confused] {
            assert!(gate.ask(&bearer(token), now()).is_err());
        }
        if read > 1000 {
            break;
        }
    }
    assert!(read > 0, "no changed set could be read at all");
}
