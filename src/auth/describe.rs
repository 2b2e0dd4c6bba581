//! What a route asks of its callers, in words for explanations.

use std::fmt;

use super::AuthPolicy;
use super::demands::{Kind, Needs};

impl fmt::Display for AuthPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.credentials() {
            None => f.write_str("none")?,
            Some(credentials) => {
                let kinds = [
                    (credentials.takes_tokens(), "token"),
                    (credentials.api_keys, "API key"),
                    (credentials.signatures, "signature"),
                    (credentials.certificates, "client certificate"),
                ];
                let kinds = kinds.into_iter().filter(|(accepted, _)| *accepted);
                let kinds: Vec<&str> = kinds.map(|(_, kind)| kind).collect();
                write!(f, "required ({})", kinds.join(" or "))?;
            }
        }
        if let Some(networks) = &self.networks {
            write!(f, ", {networks}")?;
        }
        write_needs(f, self.demands.usual())?;
        if let Some(product) = &self.product {
            write!(f, ", product {}", product.name)?;
        }
        if !self.tenant_status.is_empty() {
            write!(f, ", tenant status {}", self.tenant_status.join(" or "))?;
        }
        for (method, needs) in self.demands.methods() {
            write!(f, "; {method}")?;
            write_needs(f, needs)?;
        }
        Ok(())
    }
}

/// Scopes that are all needed, then alternatives, then the same of roles.
fn write_needs(f: &mut fmt::Formatter<'_>, needs: &Needs) -> fmt::Result {
    for kind in [Kind::Scope, Kind::Role] {
        let of_kind = || needs.iter().filter(|need| need.kind == kind);
        let all: Vec<&str> =
            of_kind().filter(|n| n.names.len() == 1).flat_map(|n| &n.names).map(|n| &**n).collect();
        if !all.is_empty() {
            write!(f, ", {}s {}", kind.as_str(), all.join(" "))?;
        }
        for any in of_kind().filter(|need| need.names.len() != 1) {
            write!(f, ", {} {}", kind.as_str(), any.names.join(" or "))?;
        }
    }
    Ok(())
}
