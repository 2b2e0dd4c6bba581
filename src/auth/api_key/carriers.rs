//! Where a request carries an API key.

use std::borrow::Cow;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use crate::auth::reserved::RESERVED;
use crate::edge::{RequestView, decode, decodes_to, raw_parameters};
use crate::model::{ApiKeyCarriers, Problem, Problems};

/// The header and the query parameter that carry an API key.
#[derive(Debug)]
pub(in crate::auth) struct Carriers {
    /// The header.
    pub(in crate::auth) header: HeaderName,
    /// The query parameter, where there is one.
    pub(in crate::auth) parameter: Option<Arc<str>>,
    /// The challenge that names the header.
    pub(super) challenge: HeaderValue,
}

impl Default for Carriers {
    fn default() -> Self {
        Self::new(HeaderName::from_static("x-api-key"), Some("api_key".into()))
    }
}

/// A request carries more than one key: which of them is meant would be a guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Repeated;

impl Carriers {
    fn new(header: HeaderName, parameter: Option<Arc<str>>) -> Self {
        let text = format!("ApiKey realm=\"tidegate\", header=\"{header}\"");
        // Header names are made of characters that a header value may hold.
        let challenge = HeaderValue::try_from(text)
            .unwrap_or_else(|_| HeaderValue::from_static("ApiKey realm=\"tidegate\""));
        Self { header, parameter, challenge }
    }

    /// Compiles `apiKeyCarriers`. `identity` are the headers that tell services who calls.
    pub(in crate::auth) fn compile(
        written: &ApiKeyCarriers,
        identity: &[HeaderName],
        problems: &mut Problems,
    ) -> Self {
        let wrong =
            |message: String| Problem::error("api_key.carrier", "apiKeyCarriers.header", message);
        let name = written.header.as_str();
        let header = match HeaderName::try_from(name) {
            Ok(header) if RESERVED.contains(&header.as_str()) => {
                problems.push(wrong(format!("`{header}` has a meaning already")));
                None
            }
            Ok(header) if identity.contains(&header) => {
                let message = format!("`{header}` tells services who calls, and is removed");
                problems.push(wrong(message));
                None
            }
            Ok(header) => Some(header),
            Err(_) => {
                problems.push(wrong(format!("`{name}` is not a header name")));
                None
            }
        };
        if written.query.chars().any(|letter| letter.is_control() || letter.is_whitespace()) {
            let message = "the name of a query parameter has no spaces and control characters";
            let problem = Problem::error("api_key.carrier", "apiKeyCarriers.query", message);
            problems.push(problem);
        }
        let parameter = Some(written.query.as_str()).filter(|name| !name.is_empty());
        let header = header.unwrap_or_else(|| Self::default().header);
        Self::new(header, parameter.map(Arc::from))
    }

    /// The key that a request carries, as it is meant (escapes of the query are undone); none
    /// where it carries none. Allocates only for a key with escapes.
    ///
    /// # Errors
    /// It carries more than one.
    pub(super) fn find<'a>(
        &self,
        view: &RequestView<'a>,
    ) -> Result<Option<Cow<'a, [u8]>>, Repeated> {
        let headers = view.headers.get_all(&self.header).into_iter();
        let headers = headers.map(|value| Cow::Borrowed(value.as_bytes()));
        let parameters = self.parameter.iter().flat_map(|wanted| {
            let all = view.query.into_iter().flat_map(raw_parameters);
            all.filter(|(name, _)| decodes_to(name, wanted)).map(|(_, value)| bytes(decode(value)))
        });
        let mut found = headers.chain(parameters);
        let first = found.next();
        if found.next().is_some() { Err(Repeated) } else { Ok(first) }
    }
}

fn bytes(text: Cow<'_, str>) -> Cow<'_, [u8]> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}
