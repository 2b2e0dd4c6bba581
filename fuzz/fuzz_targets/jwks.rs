//! Whatever an issuer publishes as its key set: nothing panics, and the bounds hold.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::auth::fuzz::key_set;

fuzz_target!(|document: &[u8]| {
    if let Some(count) = key_set(document) {
        assert!((1..=64).contains(&count), "{count} keys");
    }
});
