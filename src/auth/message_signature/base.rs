//! The text that is signed (RFC 9421, 2.5), from the request as its client sent it.
//!
//! One line for each component, the parameters of the signature last. Every value is that of the
//! request before anything was normalised; where the two differ for the path, the request is
//! refused before it comes here (see `verify`).

use http::HeaderName;
use sfv::ListSerializer;

use super::parse::Input;
use super::{SIGNATURE, SIGNATURE_INPUT, SignatureError};
use crate::edge::{RequestView, Scheme};

/// A component that a signature can cover.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Component {
    Method,
    TargetUri,
    Authority,
    Scheme,
    RequestTarget,
    Path,
    Query,
    /// A header field.
    Field(HeaderName),
}

impl Component {
    /// The component of a name; none for what is not one of requests or not known here:
    /// `@query-param` and `@status` among them. A signature cannot cover itself.
    pub(super) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "@method" => Self::Method,
            "@target-uri" => Self::TargetUri,
            "@authority" => Self::Authority,
            "@scheme" => Self::Scheme,
            "@request-target" => Self::RequestTarget,
            "@path" => Self::Path,
            "@query" => Self::Query,
            SIGNATURE | SIGNATURE_INPUT => return None,
            // Not `from_bytes`, which would take capitals, and `@` is in no field name.
            _ => Self::Field(HeaderName::from_lowercase(name.as_bytes()).ok()?),
        })
    }

    /// Appends the component's value.
    fn write(&self, view: &RequestView<'_>, out: &mut String) -> Result<(), SignatureError> {
        match self {
            Self::Method => out.push_str(view.method.as_str()),
            Self::TargetUri => {
                out.push_str(view.scheme.as_str());
                out.push_str("://");
                write_authority(view, out);
                write_target(view, out);
            }
            Self::Authority => write_authority(view, out),
            Self::Scheme => out.push_str(view.scheme.as_str()),
            // Of an absolute target only this part: a signature over the whole of it does not
            // verify, and services are sent this part too.
            Self::RequestTarget => write_target(view, out),
            Self::Path => out.push_str(&view.path),
            // The `?` stands there even where there is no query (2.2.7).
            Self::Query => {
                out.push('?');
                out.push_str(view.query.unwrap_or_default());
            }
            Self::Field(name) => write_field(name, view, out)?,
        }
        Ok(())
    }
}

/// The text that a signature is over.
///
/// # Errors
/// When it covers what the request does not have, or what has no certain text.
pub(super) fn write(input: &Input<'_>, view: &RequestView<'_>) -> Result<String, SignatureError> {
    // The parser of HTTP/1 lets some bytes outside ASCII through; they have no place here.
    if view.query.is_some_and(|query| !query.is_ascii()) {
        return Err(SignatureError::ComponentValue);
    }
    let lines = |name: &str, out: &mut String| {
        Component::of(name).ok_or(SignatureError::ComponentUnknown)?.write(view, out)
    };
    write_with(input, lines)
}

/// The same with values from `value`, which appends that of the component it is given.
pub(super) fn write_with(
    input: &Input<'_>,
    value: impl Fn(&str, &mut String) -> Result<(), SignatureError>,
) -> Result<String, SignatureError> {
    let mut base = String::with_capacity(BASE_BYTES);
    for component in &input.components {
        let name = component.as_str();
        base.push('"');
        base.push_str(name);
        base.push_str("\": ");
        value(name, &mut base)?;
        base.push('\n');
    }
    base.push_str("\"@signature-params\": ");
    write_parameters(input, &mut base);
    Ok(base)
}

/// Appends what the signature says about itself, in the one form that structured fields have.
pub(super) fn write_parameters(input: &Input<'_>, out: &mut String) {
    let mut list = ListSerializer::with_buffer(out);
    let mut components = list.inner_list();
    for component in &input.components {
        let _ = components.bare_item(&**component).finish();
    }
    let parameters = input.parameters.iter().map(|(key, value)| (*key, value));
    let _ = components.finish().parameters(parameters).finish();
    let _ = list.finish();
}

/// Host in lower case, and the port where it is not that of the scheme (2.2.3).
fn write_authority(view: &RequestView<'_>, out: &mut String) {
    out.push_str(&view.host);
    let usual = match view.scheme {
        Scheme::Http => 80,
        Scheme::Https => 443,
    };
    if let Some(port) = view.port.filter(|port| *port != usual) {
        out.push(':');
        out.push_str(&port.to_string());
    }
}

fn write_target(view: &RequestView<'_>, out: &mut String) {
    out.push_str(&view.path);
    if let Some(query) = view.query {
        out.push('?');
        out.push_str(query);
    }
}

/// The lines of a field, trimmed and joined (2.1). A line break within a value would begin a
/// line of the text that nobody signed; HTTP lets none through, and neither does this.
fn write_field(
    name: &HeaderName,
    view: &RequestView<'_>,
    out: &mut String,
) -> Result<(), SignatureError> {
    for (index, line) in view.headers.get_all(name).iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        let text = line.to_str().map_err(|_| SignatureError::ComponentValue)?;
        out.push_str(text.trim_matches([' ', '\t']));
    }
    if view.headers.contains_key(name) { Ok(()) } else { Err(SignatureError::ComponentMissing) }
}

/// Room for the usual text, in bytes.
const BASE_BYTES: usize = 512;
