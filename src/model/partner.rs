//! Callers that prove themselves without a token: by a signature on their requests, or by a
//! certificate.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Secret, Span};

/// A party that signs its requests (RFC 9421), and what the signature proves. Exactly one of
/// `secret`, `publicKeyPem` and `publicKeyFile` is given.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Signer {
    /// The `keyid` of its signatures.
    pub key_id: String,
    /// The one algorithm accepted from it.
    pub algorithm: SignatureAlgorithm,
    /// Shared secret for `hmac-sha256`, at least 32 bytes: those of the text as it stands (UTF-8).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    /// Its public key in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key_pem: Option<String>,
    /// File with its public key in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key_file: Option<String>,
    /// The tenant that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<String>,
    /// Its plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// What it may do.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Its roles.
    #[serde(default)]
    pub roles: Vec<String>,
    /// Products that it may use.
    #[serde(default)]
    pub products: Vec<String>,
}

/// An algorithm of signatures on requests (RFC 9421, 3.3).
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq, Hash)]
pub enum SignatureAlgorithm {
    /// HMAC with SHA-256.
    #[serde(rename = "hmac-sha256")]
    HmacSha256,
    /// Ed25519.
    #[serde(rename = "ed25519")]
    Ed25519,
    /// ECDSA on P-256 with SHA-256.
    #[serde(rename = "ecdsa-p256-sha256")]
    EcdsaP256Sha256,
}

/// What a signature on a request must be like.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MessageSignatures {
    /// Components that a signature must cover, at least. Where a request has a body,
    /// `content-digest` is among them without being named.
    pub components: Vec<String>,
    /// How old a signature may be, by its `created`; at most one day.
    pub max_age: Span,
    /// Clock difference forgiven on `created` and `expires`, in seconds; at most 3600.
    pub clock_tolerance_seconds: u64,
    /// Whether a signature must carry a `nonce`. One that it carries counts once in any case.
    pub require_nonce: bool,
}

impl Default for MessageSignatures {
    fn default() -> Self {
        Self {
            components: ["@method", "@authority", "@path", "@query"].map(str::to_owned).into(),
            max_age: Span::from_secs(300),
            clock_tolerance_seconds: 30,
            require_nonce: true,
        }
    }
}

/// What client certificates prove about their holders. In `identityHeaders`, `claim:NAME` finds
/// `subject`, `issuer`, `serial`, `fingerprint` (SHA-256), `commonName`, `spiffeId`, `dnsNames`,
/// `uris` and `emails` of a certificate.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ClientCertificates {
    /// Which name of a certificate becomes the subject: the first of these that it has. A name
    /// that begins with `spiffe:` counts only where it is the certificate's SPIFFE id.
    pub subject: Vec<CertificateName>,
    /// SPIFFE trust domains that are accepted, as in `prod.example.com`; certificates without a
    /// SPIFFE id are then refused. Without any, all are accepted.
    pub trust_domains: Vec<String>,
    /// What holders may do, by their subject.
    pub callers: BTreeMap<String, CertificateCaller>,
    /// Whether holders that `callers` does not name are callers too, without rights.
    pub accept_unlisted: bool,
}

impl Default for ClientCertificates {
    fn default() -> Self {
        use CertificateName::{CommonName, Dns, Subject, Uri};
        Self {
            subject: vec![Uri, Dns, CommonName, Subject],
            trust_domains: Vec::new(),
            callers: BTreeMap::new(),
            accept_unlisted: true,
        }
    }
}

/// A name in a certificate.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum CertificateName {
    /// The first alternative name that is a URI, a SPIFFE id among them.
    Uri,
    /// The one SPIFFE id; a certificate with more than one URI has none.
    Spiffe,
    /// The first alternative name that is a host name.
    Dns,
    /// The first alternative name that is an e-mail address.
    Email,
    /// The subject's common name.
    CommonName,
    /// The whole subject, RFC 4514.
    Subject,
}

/// What the holder of a certificate may do.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CertificateCaller {
    /// The tenant that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<String>,
    /// Its plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// What it may do.
    pub scopes: Vec<String>,
    /// Its roles.
    pub roles: Vec<String>,
    /// Products that it may use.
    pub products: Vec<String>,
}

/// A signature of the gateway's over what it tells services about callers (RFC 9421), so that
/// they need not trust the network. It covers method, path, query, request id and the identity
/// headers that the request has; it is on every request to a service, of public routes too.
/// `Signature` and `Signature-Input` of clients are then removed.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IdentitySignature {
    /// The keys: the first one signs, the others are still good while services change over.
    pub keys: Vec<IdentityKey>,
    /// How long services should accept a signature, in the documents of `tidegate headers`.
    #[serde(default = "one_minute")]
    pub max_age: Span,
}

const fn one_minute() -> Span {
    Span::from_secs(60)
}

/// A key that the gateway signs with: HMAC with SHA-256.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IdentityKey {
    /// The `keyid` by which services choose the key: letters, digits, `-`, `_` and `.`.
    pub id: String,
    /// The secret that the gateway and the services share, at least 32 bytes.
    pub secret: Secret,
}
