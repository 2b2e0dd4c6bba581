//! Templates of configurations, and the routes in them.
//!
//! A template is the server's own language with `@NAME@` where a run puts something. Everything
//! that is not an address, a file, a limit or a long list of routes stands in the template.

use std::fmt::Write;

use super::scenario::prefix;
use super::server::Server;
use crate::{Error, Result};

/// Puts values in their places. A place without a value is an error: a server would start with
/// something else than was meant.
pub fn fill(template: &str, values: &[(&str, String)]) -> Result<String> {
    let mut text = template.to_owned();
    for (name, value) in values {
        text = text.replace(&format!("@{name}@"), value);
    }
    let mut words = template.split('@');
    let left = words.find(|word| is_name(word) && text.contains(&format!("@{word}@")));
    left.map_or(Ok(text), |name| Err(Error::new(format!("nothing to put in place of @{name}@"))))
}

fn is_name(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
}

/// So many prefix routes to the origin, as a server writes them.
#[must_use]
pub fn routes(server: Server, count: usize) -> String {
    let mut text = String::new();
    for n in 0..count {
        let path = prefix(n);
        // Writing into a string cannot fail.
        let _ = match server {
            Server::Bare => Ok(()),
            Server::Tidegate => writeln!(
                text,
                "  - {{name: route-{n}, match: {{pathPrefix: {path}}}, \
                 upstream: {{service: orders}}}}"
            ),
            Server::Nginx => {
                writeln!(text, "        location {path}/ {{ proxy_pass http://origin; }}")
            }
            // A file of its own.
            Server::Haproxy => writeln!(text, "{path}/ origin"),
            Server::Envoy => writeln!(
                text,
                "                      \"{path}/\": {{action: {{name: route, typed_config: \
                 {{\"@type\": type.googleapis.com/envoy.config.route.v3.Route, \
                 match: {{prefix: /}}, route: {{cluster: origin}}}}}}}}"
            ),
            Server::Traefik => writeln!(
                text,
                "    route-{n}: {{entryPoints: [public], rule: \"PathPrefix(`{path}/`)\", \
                 service: origin}}"
            ),
            Server::Caddy => {
                writeln!(text, "\thandle {path}/* {{\n\t\tinvoke origin\n\t}}")
            }
        };
    }
    text.truncate(text.trim_end().len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_needs_a_value() {
        let values = [("A", "1".to_owned()), ("LONG_NAME", "2".to_owned())];
        let text = "x: @A@, \"@type\": @LONG_NAME@";
        assert_eq!(fill(text, &values).unwrap(), "x: 1, \"@type\": 2");
        assert!(fill("@A@ @B@", &values).is_err());
        assert!(fill("@B@", &values).is_err());
    }

    #[test]
    fn a_route_is_written_for_each_server() {
        for server in Server::ALL.into_iter().filter(|server| *server != Server::Bare) {
            let text = routes(server, 3);
            assert_eq!(text.matches("/service-").count(), 3, "{server}");
        }
    }
}
