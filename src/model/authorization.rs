//! What a route asks of its callers.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether callers must prove who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// `none`: everybody is served; credentials are not looked at.
    None,
    /// `required`: any configured provider or API key will do.
    Required,
    /// Credentials of chosen kinds or providers are required.
    Settings(AuthSettings),
}

/// Which credentials are accepted.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuthSettings {
    /// Identity providers whose tokens are accepted; without it, all.
    #[serde(default)]
    pub providers: Vec<String>,
    /// Kinds of credentials, any of which will do, in the order in which a request is searched
    /// for them: the first kind that it carries decides alone. Without it `jwt`,
    /// `introspection` and `apiKey`, as far as they are configured.
    #[serde(default)]
    pub any_of: Vec<AuthMethod>,
    /// What happens while nobody can be asked about a caller.
    #[serde(default)]
    pub failure_mode: AuthFailureMode,
}

/// What happens while nobody can be asked about a caller: the database, or the issuer of an
/// opaque token.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum AuthFailureMode {
    /// Callers that are not known are refused with 503.
    #[default]
    Closed,
    /// What was known last counts on for a while: `database.staleTtl`, or until the token's
    /// `exp` (ten times `introspection.cacheTtl` where its issuer names none). Callers that were
    /// never known are refused with 503.
    Stale,
}

/// A kind of credentials.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum AuthMethod {
    /// A JSON Web Token in `Authorization: Bearer`.
    Jwt,
    /// A token in `Authorization: Bearer` about which its issuer is asked (RFC 7662).
    Introspection,
    /// An API key, where `apiKeyCarriers` says.
    ApiKey,
    /// A signature on the request (RFC 9421) by one of `signers`. Must be asked for by name.
    Signature,
    /// A client certificate, which the listener has verified. Must be asked for by name: a
    /// listener may verify certificates for the sake of transport alone.
    ClientCertificate,
}

/// What a caller must be allowed to do. All that is given must hold.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Authorization {
    /// Scopes, all of which the caller must have.
    pub required_scopes: Vec<String>,
    /// Scopes, one of which the caller must have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub any_scope: Option<Vec<String>>,
    /// Roles, all of which the caller must have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub required_roles: Vec<String>,
    /// Roles, one of which the caller must have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub any_role: Option<Vec<String>>,
    /// Statuses of the caller's tenant that are let through.
    pub tenant_status: Vec<String>,
    /// The product that the route belongs to; the caller must be allowed to use it. A caller of
    /// whom no product is known may use none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
    /// Networks that clients may come from; without it, all. Checked before credentials are
    /// looked at, and on routes with `auth: none` too. Of an IPv4 address inside IPv6 the IPv4
    /// address counts: `::/0` is no IPv4 client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<String>>,
    /// Networks that clients may not come from, whatever `allow` says.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<String>,
    /// What requests of a method need besides, by method in capitals. HEAD is judged as GET.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub methods: BTreeMap<String, MethodAuthorization>,
}

/// What requests of one method need, besides what the route needs.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MethodAuthorization {
    /// Scopes, all of which the caller must have.
    pub required_scopes: Vec<String>,
    /// Scopes, one of which the caller must have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub any_scope: Option<Vec<String>>,
    /// Roles, all of which the caller must have.
    pub required_roles: Vec<String>,
    /// Roles, one of which the caller must have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub any_role: Option<Vec<String>>,
}
