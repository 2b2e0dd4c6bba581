//! The strict reader beside the usual one: what it accepts means the same to both.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tidegate::auth::fuzz::strict_json;

fuzz_target!(|text: &[u8]| {
    if let Some(value) = strict_json(text) {
        let usual: Value = serde_json::from_slice(text).expect("the usual reader accepts more");
        assert_eq!(value, usual);
    }
});
