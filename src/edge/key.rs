//! Key parts, compiled: how a limit or a split reads its key from a request.

use std::borrow::Cow;
use std::net::IpAddr;

use http::HeaderName;
use serde_json::Value;

use super::{Identity, RequestView};
use crate::model::KeyPart;

/// What keys can be made from: the request and what has been proved about it.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// The request.
    pub view: &'a RequestView<'a>,
    /// The caller, if authenticated.
    pub identity: Option<&'a Identity>,
    /// The request id.
    pub request_id: &'a str,
    /// Name of the matched route.
    pub route: &'a str,
    /// Name of its service; empty where it has none.
    pub service: &'a str,
}

/// A key part with its names prepared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// The caller's verified tenant.
    TenantId,
    /// The caller's verified subject.
    UserId,
    /// The id of the verified API key.
    ApiKey,
    /// The caller's verified plan.
    Plan,
    /// The client's address.
    ClientIp,
    /// The name of the route.
    RouteName,
    /// The name of its service.
    Service,
    /// The same for every request; has no bytes.
    Global,
    /// The request id.
    RequestId,
    /// Something new for every request; has no bytes, its user draws them.
    Random,
    /// A request header.
    Header(HeaderName),
    /// A cookie.
    Cookie(Box<str>),
    /// A claim of the verified token.
    Claim(Box<str>),
}

impl Part {
    /// Compiles a configured part.
    ///
    /// # Errors
    /// Returns what is wrong with a header name that HTTP does not allow.
    pub fn compile(part: &KeyPart) -> Result<Self, String> {
        Ok(match part {
            KeyPart::TenantId => Self::TenantId,
            KeyPart::UserId => Self::UserId,
            KeyPart::ApiKey => Self::ApiKey,
            KeyPart::Plan => Self::Plan,
            KeyPart::ClientIp => Self::ClientIp,
            KeyPart::RouteName => Self::RouteName,
            KeyPart::Service => Self::Service,
            KeyPart::Global => Self::Global,
            KeyPart::RequestId => Self::RequestId,
            KeyPart::Random => Self::Random,
            KeyPart::Header(name) => Self::Header(
                HeaderName::try_from(name.as_str())
                    .map_err(|_| format!("`{name}` is not a header name"))?,
            ),
            KeyPart::Cookie(name) => Self::Cookie(name.as_str().into()),
            KeyPart::Claim(name) => Self::Claim(name.as_str().into()),
        })
    }

    /// The bytes of this part for a request, or nothing where the request lacks it.
    #[must_use]
    pub fn read<'a>(&self, facts: &Facts<'a>) -> Option<Cow<'a, [u8]>> {
        let text = |text: &'a str| Some(Cow::Borrowed(text.as_bytes()));
        let identity = facts.identity;
        match self {
            Self::TenantId => text(identity?.tenant_id.as_deref()?),
            Self::UserId => text(&identity?.subject),
            Self::ApiKey => text(identity?.api_key.as_deref()?),
            Self::Plan => text(identity?.plan.as_deref()?),
            Self::ClientIp => Some(Cow::Owned(address_bytes(facts.view.client))),
            Self::RouteName => text(facts.route),
            Self::Service => text(facts.service),
            Self::Global => text(""),
            Self::RequestId => text(facts.request_id),
            Self::Random => None,
            Self::Header(name) => Some(Cow::Borrowed(facts.view.headers.get(name)?.as_bytes())),
            Self::Cookie(name) => text(facts.view.cookie(name)?),
            Self::Claim(name) => match identity?.claims.get(&**name)? {
                Value::Null => None,
                Value::String(claim) => text(claim),
                other => Some(Cow::Owned(other.to_string().into_bytes())),
            },
        }
    }
}

fn address_bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests;
