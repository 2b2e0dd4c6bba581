//! What a route asks of its callers, in words for explanations.

use std::fmt;

use super::AuthPolicy;

impl fmt::Display for AuthPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(credentials) = self.credentials() else { return f.write_str("none") };
        f.write_str("required")?;
        match (credentials.providers.is_empty(), credentials.api_keys) {
            (false, true) => f.write_str(" (token or API key)")?,
            (false, false) => f.write_str(" (token)")?,
            (true, _) => f.write_str(" (API key)")?,
        }
        for (index, scope) in self.scopes.iter().enumerate() {
            let before = if index == 0 { ", scopes " } else { " " };
            write!(f, "{before}{}", scope.name)?;
        }
        if !self.tenant_status.is_empty() {
            write!(f, ", tenant status {}", self.tenant_status.join(" or "))?;
        }
        Ok(())
    }
}
