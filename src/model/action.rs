//! What a route does with a request, beside sending it on.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the path is written that a service sees. At most one of the three.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Rewrite {
    /// These first segments are taken away: `/api/v1` makes `/users` of `/api/v1/users`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strip_prefix: Option<String>,
    /// First segments are replaced by others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replace_prefix: Option<ReplacePrefix>,
    /// The path is replaced where a regular expression over the whole of it matches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regex: Option<RegexRewrite>,
    /// The `Host` that the service sees, instead of the client's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
}

/// First segments of a path, and what stands in their place.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReplacePrefix {
    /// The segments.
    pub prefix: String,
    /// What stands in their place.
    pub with: String,
}

/// A regular expression over a path, and what stands in its place.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RegexRewrite {
    /// The expression, over the whole path.
    pub pattern: String,
    /// The new path; `${1}` and `${name}` stand for groups of the expression.
    pub with: String,
}

/// Sends the client elsewhere. What is not given stays as it is.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    #[serde(default = "default_status")]
    pub status: u16,
    /// `http` or `https`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<String>,
    /// The host, with its port where that is not the scheme's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The whole path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Whether the query goes along.
    #[serde(default = "yes")]
    pub keep_query: bool,
}

const fn default_status() -> u16 {
    308
}
const fn yes() -> bool {
    true
}

/// Answers without a service.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Respond {
    /// The status, 200 to 599.
    pub status: u16,
    /// The body; empty without it.
    #[serde(default)]
    pub body: String,
    /// Type of the body.
    #[serde(default = "default_type")]
    pub content_type: String,
    /// Further headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
}

fn default_type() -> String {
    "text/plain; charset=utf-8".to_owned()
}
