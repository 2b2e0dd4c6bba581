//! The order of checks, cheapest first; the nonce last of all.

use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use jsonwebtoken::signature::Verifier;
use ring::digest::{Context, SHA256};
use sfv::BareItemFromInput;

use super::body::{BodyDigest, join};
use super::parse::{self, Input, Signatures};
use super::signers::{Party, Rules, Signers};
use super::{CONTENT_DIGEST, SIGNATURE, SIGNATURE_INPUT, SignatureError, base};
use super::{Nonce, NonceVerdict, is_signed};
use crate::auth::challenge;
use crate::auth::{Denied, Evidence, Question};
use crate::clock::Moment;
use crate::edge::{Identity, RequestView};

/// Fewest bytes of a nonce: less could be met by chance.
const NONCE_BYTES_MIN: usize = 16;
/// Most bytes of a nonce.
const NONCE_BYTES_MAX: usize = 256;

impl From<SignatureError> for Denied {
    fn from(error: SignatureError) -> Self {
        Self::Reject(error.into())
    }
}

/// The party that signed a request; none where it carries no signature.
///
/// # Errors
/// 401 when the signature is not good, 503 when it cannot be known whether its nonce was used
/// before, or the question about that.
pub(in crate::auth) fn identify(
    view: &RequestView<'_>,
    evidence: &Evidence<'_>,
) -> Result<Option<Arc<Identity>>, Denied> {
    if !is_signed(view) {
        return Ok(None);
    }
    // Everything else was found good before the nonce was asked about.
    match &evidence.answers.nonce {
        Some(NonceVerdict::New(identity)) => return Ok(Some(Arc::clone(identity))),
        Some(NonceVerdict::Used) => return Err(SignatureError::Replayed.into()),
        Some(NonceVerdict::Unknown) => return Err(challenge::unavailable().into()),
        None => {}
    }
    let verified = verify(view, &evidence.providers.signers, evidence.now)?;
    match verified.nonce {
        Some(nonce) => Err(Denied::Ask(Question::Nonce(nonce))),
        None => Ok(Some(verified.identity)),
    }
}

/// A signature that is good but for its nonce.
#[derive(Debug)]
pub(super) struct Verified {
    pub(super) identity: Arc<Identity>,
    pub(super) nonce: Option<Nonce>,
}

/// Verifies the one signature of a request that is by a party of ours.
///
/// # Errors
/// What is wrong with it, the first of all.
pub(super) fn verify(
    view: &RequestView<'_>,
    signers: &Signers,
    now: Moment,
) -> Result<Verified, SignatureError> {
    let field = |name| {
        let mut lines = view.headers.get_all(name).iter();
        let first = lines.next().ok_or(SignatureError::Unpaired)?;
        join(first, lines).ok_or(SignatureError::Unreadable)
    };
    let (inputs, values) = (field(SIGNATURE_INPUT)?, field(SIGNATURE)?);
    let signatures = parse::read(&inputs, &values)?;
    let (input, party, key_id) = choose(&signatures, signers)?;
    if let Some(flaw) = input.flaw {
        return Err(flaw);
    }
    let value = signatures.value(input)?;
    let parameters = Parameters::read(input)?;
    if parameters.algorithm.is_some_and(|algorithm| algorithm != party.algorithm) {
        return Err(SignatureError::Algorithm);
    }
    let remember = parameters.check_time(&signers.rules, now)?;
    let nonce = parameters.check_nonce(&signers.rules)?;
    check_coverage(input, view, &signers.rules)?;
    let text = base::write(input, view)?;
    party.verifier.verify(text.as_bytes(), value).map_err(|_| SignatureError::Mismatch)?;
    let identity = Arc::clone(&party.identity);
    let nonce = nonce.map(|nonce| Nonce {
        hash: hash(key_id, nonce),
        remember,
        identity: Arc::clone(&identity),
    });
    Ok(Verified { identity, nonce })
}

/// The signature that counts: the only one by a key that is known here.
fn choose<'s>(
    signatures: &'s Signatures<'_>,
    signers: &'s Signers,
) -> Result<(&'s Input<'s>, &'s Party, &'s str), SignatureError> {
    let mut ours = signatures.inputs.iter().filter_map(|input| {
        let key_id = input.text("keyid")?;
        Some((input, signers.get(key_id)?, key_id))
    });
    let chosen = ours.next().ok_or(SignatureError::KeyUnknown)?;
    if ours.next().is_some() {
        return Err(SignatureError::KeyRepeated);
    }
    Ok(chosen)
}

/// The parameters of a signature (RFC 9421, 2.3).
struct Parameters<'a> {
    created: Option<i64>,
    expires: Option<i64>,
    nonce: Option<&'a str>,
    algorithm: Option<&'a str>,
}

impl<'a> Parameters<'a> {
    fn read(input: &'a Input<'_>) -> Result<Self, SignatureError> {
        let mut read = Self { created: None, expires: None, nonce: None, algorithm: None };
        for (name, value) in &input.parameters {
            match (name.as_str(), value) {
                ("created", BareItemFromInput::Integer(time)) => {
                    read.created = Some(i64::from(*time));
                }
                ("expires", BareItemFromInput::Integer(time)) => {
                    read.expires = Some(i64::from(*time));
                }
                ("nonce", BareItemFromInput::String(text)) => read.nonce = Some(text.as_str()),
                ("alg", BareItemFromInput::String(text)) => read.algorithm = Some(text.as_str()),
                // The first chose the key; the second says which application it is for, and is
                // signed like all of them.
                ("keyid" | "tag", BareItemFromInput::String(_)) => {}
                _ => return Err(SignatureError::Parameter),
            }
        }
        Ok(read)
    }

    /// Whether the signature counts now. Returns for how long its nonce must be remembered: to
    /// the last moment at which it counts anywhere, were another node's clock that much slower.
    fn check_time(&self, rules: &Rules, now: Moment) -> Result<Duration, SignatureError> {
        let Rules { max_age, tolerance, .. } = *rules;
        let created = self.created.ok_or(SignatureError::NoCreated)?;
        let seconds = i64::try_from(now.unix_seconds()).unwrap_or(i64::MAX / 2);
        if created > seconds + tolerance {
            return Err(SignatureError::Future);
        }
        if seconds - created > max_age + tolerance {
            return Err(SignatureError::TooOld);
        }
        if self.expires.is_some_and(|expires| expires < created) {
            return Err(SignatureError::Parameter);
        }
        if self.expires.is_some_and(|expires| expires <= seconds - tolerance) {
            return Err(SignatureError::Expired);
        }
        // Seconds are cut off, so the last one counts whole.
        let left = created + max_age + 2 * tolerance - seconds + 1;
        Ok(Duration::from_secs(u64::try_from(left).unwrap_or(1)))
    }

    fn check_nonce(&self, rules: &Rules) -> Result<Option<&'a str>, SignatureError> {
        let Some(nonce) = self.nonce else {
            return if rules.require_nonce { Err(SignatureError::NoNonce) } else { Ok(None) };
        };
        let visible = nonce.bytes().all(|byte| matches!(byte, b'!'..=b'~'));
        if !visible || !(NONCE_BYTES_MIN..=NONCE_BYTES_MAX).contains(&nonce.len()) {
            return Err(SignatureError::Nonce);
        }
        Ok(Some(nonce))
    }
}

/// Whether a signature covers what it must, the body's digest among it.
fn check_coverage(
    input: &Input<'_>,
    view: &RequestView<'_>,
    rules: &Rules,
) -> Result<(), SignatureError> {
    if !rules.components.iter().all(|name| input.covers(name)) {
        return Err(SignatureError::NotCovered);
    }
    // A digest that is not signed is anybody's, so where there is one it must be covered. Where
    // there is none the body must be empty; over HTTP/2 only its end will show.
    let is_declared = BodyDigest::of(view.headers)?.is_declared();
    if (is_declared || has_body(view)) && !(is_declared && input.covers(CONTENT_DIGEST)) {
        return Err(SignatureError::DigestNotCovered);
    }
    // Services get the path in normal form. What was signed could mean something else to them,
    // or two spellings the same: only the one that both have is accepted. It is borrowed as long
    // as it is the one that was sent.
    if matches!(view.path, std::borrow::Cow::Owned(_)) {
        return Err(SignatureError::Path);
    }
    Ok(())
}

/// Whether the header says that a body follows.
fn has_body(view: &RequestView<'_>) -> bool {
    let is_zero = |length: &[u8]| length.iter().all(|digit| *digit == b'0');
    view.headers.contains_key(TRANSFER_ENCODING)
        || view.headers.get(CONTENT_LENGTH).is_some_and(|length| !is_zero(length.as_bytes()))
}

/// Names a nonce of a key; the length keeps apart what is the one's and what the other's.
fn hash(key_id: &str, nonce: &str) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    context.update(&(key_id.len() as u64).to_be_bytes());
    context.update(key_id.as_bytes());
    context.update(nonce.as_bytes());
    let mut hash = [0; 32];
    // SHA-256 is as long as the array; zip cannot leave anything out.
    hash.iter_mut().zip(context.finish().as_ref()).for_each(|(to, from)| *to = *from);
    hash
}
