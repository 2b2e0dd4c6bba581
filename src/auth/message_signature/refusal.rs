//! Why a signed request is refused, and what its client is told.
//!
//! The words are a closed set, as those for tokens are: nothing that a client sent comes back.

use http::header::WWW_AUTHENTICATE;
use http::{HeaderName, HeaderValue};

use crate::fault::{Fault, Hint, Reject};

/// Names the components that a signature needs (RFC 9421, 5.1).
pub(super) const ACCEPT_SIGNATURE: HeaderName = HeaderName::from_static("accept-signature");

/// Declares why signatures are refused: variant, fault, words.
macro_rules! signature_errors {
    ($($variant:ident $fault:ident $words:literal;)+) => {
        /// Why a signed request is refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum SignatureError { $(#[doc = $words] $variant,)+ }

        impl SignatureError {
            /// Every reason, in the order of the table.
            #[cfg(test)]
            pub(super) const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The row of the fault table.
            pub(super) const fn fault(self) -> Fault {
                match self { $(Self::$variant => Fault::$fault,)+ }
            }

            /// The reason in words.
            pub(super) const fn words(self) -> &'static str {
                match self { $(Self::$variant => $words,)+ }
            }

            fn challenge(self) -> HeaderValue {
                match self {
                    $(Self::$variant => HeaderValue::from_static(concat!(
                        "Signature realm=\"tidegate\", error=\"invalid_signature\", \
                         error_description=\"",
                        $words,
                        "\""
                    )),)+
                }
            }
        }
    };
}

signature_errors! {
    Unpaired SignatureInvalid "Signature and Signature-Input must be sent together";
    TooLong SignatureInvalid "the signature headers are longer than 8 KiB";
    Unreadable SignatureInvalid "the signature headers are not dictionaries of structured fields";
    TooMany SignatureInvalid "there are more than 8 signatures";
    LabelRepeated SignatureInvalid "a label stands twice in the signature headers";
    KeyUnknown SignatureInvalid "no signature is by a key that is known here";
    KeyRepeated SignatureInvalid "more than one signature is by a key that is known here";
    NoValue SignatureInvalid "the signature has a description and no value";
    Value SignatureInvalid "the value of the signature is not a byte sequence";
    Parameter SignatureInvalid "a parameter is unknown, repeated or of a wrong type";
    Algorithm SignatureInvalid "the algorithm of the signature is not that of its key";
    NotAList SignatureInvalid "the signature does not list what it covers";
    ComponentCount SignatureInvalid "the signature covers more than 32 components";
    ComponentParameter SignatureInvalid "components with parameters are not accepted";
    ComponentRepeated SignatureInvalid "the signature covers a component twice";
    ComponentUnknown SignatureInvalid "the signature covers a component that is not known here";
    ComponentMissing SignatureInvalid "the signature covers a header that the request lacks";
    ComponentValue SignatureInvalid "the signature covers a value that is not plain ASCII";
    NotCovered SignatureInvalid "the signature does not cover all that it must";
    DigestNotCovered SignatureInvalid "the signature does not cover the Content-Digest of the body";
    DigestUnreadable SignatureInvalid "Content-Digest has no readable sha-256 or sha-512";
    Path SignatureInvalid "the path of a signed request must be in normal form";
    NoCreated SignatureInvalid "the signature does not say when it was created";
    NoNonce SignatureInvalid "the signature has no nonce";
    Nonce SignatureInvalid "a nonce has 16 to 256 visible characters";
    Mismatch SignatureInvalid "the signature does not fit the request";
    TooOld SignatureExpired "the signature is too old";
    Expired SignatureExpired "the signature has expired";
    Future SignatureExpired "the signature was created in the future";
    Replayed SignatureReplayed "each request needs a nonce of its own, repeated requests too";
    Body DigestMismatch "the body is not the one that was signed";
}

impl From<SignatureError> for Reject {
    fn from(error: SignatureError) -> Self {
        Self::new(error.fault())
            .with_hint(Hint::literal(error.words()))
            .with_header(WWW_AUTHENTICATE, error.challenge())
    }
}
