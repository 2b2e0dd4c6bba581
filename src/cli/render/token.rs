//! The checks of a token as text.

use std::fmt::{Result, Write};

use crate::auth::{CheckReport, Outcome, TokenReport};

/// Lays the checks out, one a line, then all claims.
pub(super) fn write(page: &mut String, report: &TokenReport) -> Result {
    let provider = report.provider.as_deref().unwrap_or("(none)");
    writeln!(page, "token      of provider {provider}")?;
    for check in &report.checks {
        write_check(page, check)?;
    }
    let Some(claims) = &report.claims else {
        return writeln!(page, "           its claims cannot be read");
    };
    for (at, (name, value)) in claims.iter().enumerate() {
        let title = if at == 0 { "claims" } else { "" };
        // Names and values come from outside: JSON's spelling keeps control characters out.
        writeln!(page, "{title:<11}{}: {value}", serde_json::Value::from(name.as_str()))?;
    }
    Ok(())
}

fn write_check(page: &mut String, check: &CheckReport) -> Result {
    let CheckReport { check: name, outcome, expected, found, reason } = check;
    match outcome {
        Outcome::NotReached => writeln!(page, "  {:<11} {name}", outcome.as_str()),
        Outcome::Passed | Outcome::NotKnown => {
            writeln!(page, "  {:<11} {name}: {found}", outcome.as_str())
        }
        Outcome::Failed => {
            writeln!(page, "  {:<11} {name}: {}", "FAILED", reason.as_deref().unwrap_or_default())?;
            writeln!(page, "              expected {expected}")?;
            writeln!(page, "              found {found}")
        }
    }
}
