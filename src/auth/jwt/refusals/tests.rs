use super::*;
use crate::auth::ProviderIndex;
use crate::auth::jwt::provider::Fingerprint;
use crate::auth::testing::{after, now};

fn refusals() -> Refusals {
    Refusals::new(&Metrics::new().unwrap())
}

fn binding(generation: u64) -> Binding {
    let fingerprint = Fingerprint::of(&[]);
    Binding { provider: ProviderIndex(0), fingerprint, generation, key: None }
}

fn note(refusals: &Refusals, token: &str) {
    refusals.note(token, binding(1), TokenError::Signature, now());
}

fn recall(refusals: &Refusals, token: &str, at: Moment) -> Option<TokenError> {
    refusals.recall(token, at, |_| true)
}

#[test]
fn a_refusal_is_recalled_for_its_token_for_five_seconds() {
    let refusals = refusals();
    note(&refusals, "header.payload.signature");
    let just = now().plus(KEPT.saturating_sub(Duration::from_nanos(1)));
    for at in [now(), just] {
        let error = recall(&refusals, "header.payload.signature", at);
        assert_eq!(error, Some(TokenError::Signature));
    }
    assert_eq!(recall(&refusals, "header.payload.signature", now().plus(KEPT)), None);
    for other in ["header.payload.signaturf", "header.payload.signatur", ""] {
        assert_eq!(recall(&refusals, other, now()), None, "{other}");
    }
    assert_eq!((refusals.recalled.get(), refusals.checked.get()), (2, 1));
}

#[test]
fn what_it_rests_on_must_be_in_force() {
    let refusals = refusals();
    note(&refusals, "t");
    assert_eq!(refusals.recall("t", now(), |binding| binding.generation == 2), None);
    assert!(refusals.recall("t", now(), |binding| binding.generation == 1).is_some());
}

#[test]
fn only_what_nothing_mends_is_kept() {
    for error in TokenError::ALL {
        let refusals = refusals();
        refusals.note("t", binding(1), *error, now());
        let kept = recall(&refusals, "t", now());
        assert_eq!(kept, error.is_lasting().then_some(*error), "{error:?}");
    }
    for mends in [
        TokenError::KeyUnknown,
        TokenError::NotYetValid,
        TokenError::IssuedLater,
        TokenError::Revoked,
    ] {
        assert!(!mends.is_lasting(), "{mends:?}");
    }
    assert!(TokenError::Expired.is_lasting() && TokenError::Signature.is_lasting());
}

#[test]
fn a_refusal_is_renewed_in_its_place() {
    let refusals = refusals();
    note(&refusals, "t");
    refusals.note("t", binding(2), TokenError::Expired, after(3));
    assert_eq!(recall(&refusals, "t", after(7)), Some(TokenError::Expired));
    let kept = refusals.slots.iter().filter(|slot| slot.load().is_some()).count();
    assert_eq!(kept, 1);
}

#[test]
fn a_flood_keeps_the_bound_and_the_latest() {
    let refusals = refusals();
    for n in 0..3 * ENTRIES as u64 {
        let at = now().plus(Duration::from_micros(n));
        refusals.note(&format!("token-{n}"), binding(1), TokenError::Signature, at);
        assert!(recall(&refusals, &format!("token-{n}"), at).is_some(), "{n}");
    }
    assert_eq!(refusals.slots.len(), ENTRIES);
    // Of a set the oldest left, so that the first ones are gone.
    assert_eq!(recall(&refusals, "token-0", now()), None);
}
