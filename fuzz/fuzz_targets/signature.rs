//! Whatever a client writes into `Signature-Input` and `Signature`: nothing panics.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::auth::parse_message_signature;

fuzz_target!(|fields: &str| {
    let (input, signature) = fields.split_once('\n').unwrap_or((fields, ""));
    let _ = parse_message_signature(input, signature);
});
