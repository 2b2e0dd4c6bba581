//! Signatures on requests (RFC 9421; R105): who signed, what is covered, how old, how often.
//!
//! [`identify`] is the order of checks. It is pure, as all deciding is: what a signature says is
//! verified here, and whether its nonce was used before is a question to [`Nonces`], asked last,
//! so that nobody can spend the nonces of somebody else. The body is not here yet when that is
//! decided: [`BodyDigest`] goes along with it and has the last word.
//!
//! Strict where the RFC leaves room: what is not understood is refused, never passed over. A
//! component with a parameter, a parameter that no rule here reads, two signatures that both
//! could count, a path that services read in another spelling than the client signed: all 401.

mod base;
mod body;
mod nonces;
mod parse;
mod refusal;
mod replays;
mod signers;
mod verify;

pub use body::BodyDigest;
pub(in crate::auth) use nonces::{Nonce, NonceVerdict, Nonces};

use refusal::SignatureError;

pub(in crate::auth) use signers::Signers;
pub(in crate::auth) use verify::identify;

use crate::edge::RequestView;

/// Parses the two header fields of signatures as any client may send them, and writes down again
/// what was understood: an entry for fuzzing. Takes the values of `Signature-Input` and
/// `Signature`; says whether they could be read.
#[must_use]
pub fn parse(signature_input: &str, signature: &str) -> bool {
    let Ok(signatures) = parse::read(signature_input, signature) else { return false };
    let mut text = String::new();
    for input in &signatures.inputs {
        base::write_parameters(input, &mut text);
    }
    true
}

/// Whether a request carries a signature, good or not.
fn is_signed(view: &RequestView<'_>) -> bool {
    view.headers.contains_key(SIGNATURE) || view.headers.contains_key(SIGNATURE_INPUT)
}

const SIGNATURE: &str = "signature";
const SIGNATURE_INPUT: &str = "signature-input";
const CONTENT_DIGEST: &str = "content-digest";

#[cfg(test)]
mod tests;
