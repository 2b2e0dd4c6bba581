//! What a route asks of its callers, in words for explanations.

use std::fmt;

use super::AuthPolicy;

impl fmt::Display for AuthPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(credentials) = self.credentials() else { return f.write_str("none") };
        let kinds = [
            (!credentials.providers.is_empty(), "token"),
            (credentials.api_keys, "API key"),
            (credentials.certificates, "client certificate"),
        ];
        let kinds = kinds.into_iter().filter(|(accepted, _)| *accepted);
        let kinds: Vec<&str> = kinds.map(|(_, kind)| kind).collect();
        write!(f, "required ({})", kinds.join(" or "))?;
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
