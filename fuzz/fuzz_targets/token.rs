//! Whatever stands behind `Bearer`, through the whole judgement of a route: nothing panics, and
//! nobody without the key is let in.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tidegate::auth::fuzz::TokenTarget;

static TARGET: LazyLock<TokenTarget> =
    LazyLock::new(|| TokenTarget::new().expect("the route of the target compiles"));

fuzz_target!(|token: &[u8]| {
    assert!(!TARGET.accepts(token), "a token without a good signature was accepted");
});
