//! May a client come from where it comes from: `authorization.allow` and `deny`.
//!
//! Checked before credentials are looked at: a client that may not come at all learns nothing
//! about them, and costs nothing.

use std::fmt;
use std::net::IpAddr;

use super::AuthPolicy;
use crate::edge::AddressSet;
use crate::fault::{Fault, Reject};
use crate::model::{Authorization, Problem, Problems};

/// Where clients of a route may come from.
#[derive(Debug)]
pub(super) struct Networks {
    /// None where all are allowed.
    allow: Option<AddressSet>,
    deny: AddressSet,
    /// Both as they are written, for explanations.
    allowed: Box<[String]>,
    denied: Box<[String]>,
}

/// Whether a route serves a client at this address at all.
///
/// # Errors
/// 403 where it does not.
pub fn admit_address(policy: &AuthPolicy, client: IpAddr) -> Result<(), Reject> {
    match &policy.networks {
        Some(networks) if !networks.admit(client) => Err(Fault::AddressRefused.into()),
        _ => Ok(()),
    }
}

impl Networks {
    /// Compiles `allow` and `deny`; none where neither is given. Problems carry `path`
    /// (`routes[3].policies.authorization`).
    pub(super) fn compile(
        written: &Authorization,
        path: &str,
        problems: &mut Problems,
    ) -> Option<Self> {
        if written.allow.is_none() && written.deny.is_empty() {
            return None;
        }
        let mut read = |key: &str, entries: &[String]| {
            let (set, wrong) = AddressSet::read(entries);
            for (at, why) in wrong {
                problems.push(Problem::error("auth.network", format!("{path}.{key}[{at}]"), why));
            }
            set
        };
        let allow = written.allow.as_deref().map(|entries| read("allow", entries));
        let deny = read("deny", &written.deny);
        if written.allow.as_ref().is_some_and(Vec::is_empty) {
            let message = "nobody could pass: `allow` names no network";
            let place = format!("{path}.allow");
            problems
                .push(Problem::error("auth.empty", place, message).help("name some, or remove it"));
        } else if allow.as_ref().is_some_and(|allow| !allow.is_empty() && allow.is_inside(&deny)) {
            let message = "nobody could pass: `deny` has every address of `allow`";
            problems.push(Problem::error("auth.network", format!("{path}.deny"), message));
        }
        let allowed = written.allow.as_deref().unwrap_or_default().into();
        Some(Self { allow, deny, allowed, denied: written.deny.as_slice().into() })
    }

    fn admit(&self, client: IpAddr) -> bool {
        !self.deny.contains(client)
            && self.allow.as_ref().is_none_or(|allow| allow.contains(client))
    }
}

impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = [("from ", &self.allowed), ("not from ", &self.denied)];
        let said = said.into_iter().filter(|(_, entries)| !entries.is_empty());
        for (index, (word, entries)) in said.enumerate() {
            let before = if index == 0 { "" } else { ", " };
            write!(f, "{before}{word}{}", entries.join(" "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::testing::{compile, config, lines};
    use crate::model::Resolved;

    fn policy(authorization: &str) -> (AuthPolicy, Vec<String>) {
        let (providers, _) = compile("{}", &Resolved::default());
        let yaml = format!("policies: {{auth: none, authorization: {{{authorization}}}}}");
        let mut problems = Problems::default();
        let policies = config(&yaml).policies;
        let policy = AuthPolicy::compile(&policies, &providers, "p", &mut problems);
        (policy, lines(&problems))
    }

    fn admits(policy: &AuthPolicy, client: &str) -> bool {
        let verdict = admit_address(policy, client.parse().unwrap());
        assert!(
            verdict.as_ref().is_ok_and(|()| true) || {
                let reject = verdict.as_ref().unwrap_err();
                (reject.fault, reject.fault.status()) == (Fault::AddressRefused, 403)
            }
        );
        verdict.is_ok()
    }

    #[test]
    fn denied_wins_over_allowed_and_silence_allows_all() {
        let (both, problems) = policy("allow: [10.0.0.0/8, '2001:db8::/32'], deny: [10.9.0.0/16]");
        assert_eq!(problems, [""; 0]);
        for (client, admitted) in [
            ("10.0.0.1", true),
            ("10.8.255.255", true),
            ("10.9.0.0", false),
            ("10.9.255.255", false),
            ("10.10.0.0", true),
            ("11.0.0.0", false),
            ("::ffff:10.0.0.1", true),
            ("::ffff:10.9.0.1", false),
            ("2001:db8::1", true),
            ("::1", false),
        ] {
            assert_eq!(admits(&both, client), admitted, "{client}");
        }
        let (deny, _) = policy("deny: ['192.0.2.1']");
        assert!(admits(&deny, "192.0.2.2") && admits(&deny, "::1"));
        assert!(!admits(&deny, "192.0.2.1") && !admits(&deny, "::ffff:192.0.2.1"));
        assert!(admits(&policy("").0, "192.0.2.1"));
    }

    #[test]
    fn networks_that_cannot_be_meant_are_errors() {
        let problems = |authorization: &str| policy(authorization).1;
        assert_eq!(
            problems("allow: [10.0.0.1/8, here], deny: ['::/129']"),
            [
                "auth.network p.authorization.allow[0]",
                "auth.network p.authorization.allow[1]",
                "auth.network p.authorization.deny[0]",
            ]
        );
        assert_eq!(problems("allow: []"), ["auth.empty p.authorization.allow"]);
        let covered = problems("allow: [10.1.0.0/16, 10.2.0.0/16], deny: [10.0.0.0/8]");
        assert_eq!(covered, ["auth.network p.authorization.deny"]);
        assert_eq!(problems("allow: [10.1.0.0/16], deny: [10.1.0.0/17]"), [""; 0]);
        assert!(!admits(&policy("allow: []").0, "10.0.0.1"), "nothing opens by mistake");
    }
}
