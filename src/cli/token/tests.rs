use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Parser;
use serde_json::json;

use super::*;
use crate::cli::args::{Cli, Command};

const NOW: u64 = 1_800_000_000;

struct Scene {
    folder: tempfile::TempDir,
}

impl Scene {
    /// A configuration with these providers; `KEY` stands for the file of a good key.
    fn new(providers: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key.pem");
        new_key(&key).unwrap();
        let config = format!(
            "listeners: [{{name: a, address: '127.0.0.1:1'}}]\nroutes: []\nidentityProviders:\n\
             {providers}"
        );
        let config = config.replace("KEY", key.to_str().unwrap());
        std::fs::write(folder.path().join("gateway.yaml"), config).unwrap();
        Self { folder }
    }

    fn make(&self, words: &[&str]) -> Result<Value, String> {
        let file = self.folder.path().join("gateway.yaml");
        let head = ["tidegate", "token", "--config", file.to_str().unwrap()];
        let cli =
            Cli::try_parse_from(head.iter().chain(words)).map_err(|error| error.to_string())?;
        let Command::Token(args) = cli.command else { panic!("another command") };
        let token = make(&args, NOW)?;
        let parts: Vec<&str> = token.split('.').collect();
        let read = |part: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap());
        assert_eq!(read(parts[0]).ok(), Some(json!({"alg": "EdDSA", "typ": "JWT"})));
        Ok(read(parts[1]).unwrap())
    }
}

const ONE: &str = "  dev: {issuer: https://dev/, audience: [orders, billing], \
                   algorithms: [EdDSA], developmentKeyFile: KEY}\n";
const REAL: &str = "  main: {issuer: https://main/, audience: orders, algorithms: [RS256], \
                    jwksUrl: https://main/keys}\n";

#[test]
fn claims_are_those_that_the_options_say() {
    let scene = Scene::new(&format!("{ONE}{REAL}"));
    assert_eq!(
        scene.make(&["--sub", "alice"]).unwrap(),
        json!({
            "iss": "https://dev/", "aud": "orders", "iat": NOW, "exp": NOW + 3600, "sub": "alice",
        })
    );
    let words = "--provider dev --sub bob --tenant acme --plan gold --role clerk --role admin \
                 --audience billing --expires 30d --not-before 10s --jti t-1 --claim team=red \
                 --claim level:=3 --claim beta:=true --claim tags:=[\"a\"] --claim formula=a=b";
    let mut words: Vec<&str> = words.split_ascii_whitespace().collect();
    words.extend(["--scope", "orders:read orders:write"]);
    assert_eq!(
        scene.make(&words).unwrap(),
        json!({
            "iss": "https://dev/", "aud": "billing", "iat": NOW, "exp": NOW + 30 * 86_400,
            "nbf": NOW + 10, "jti": "t-1", "sub": "bob", "tenant_id": "acme",
            "scope": "orders:read orders:write", "plan": "gold", "roles": ["clerk", "admin"],
            "team": "red", "level": 3, "beta": true, "tags": ["a"], "formula": "a=b",
        })
    );
    let auto = |_| scene.make(&["--sub", "a", "--jti", "auto", "--not-before"]).unwrap();
    let (one, two) = (auto(1), auto(2));
    assert_eq!((one["jti"].as_str().unwrap().len(), &one["nbf"]), (32, &json!(NOW)));
    assert_ne!(one["jti"], two["jti"]);
}

#[test]
fn facts_stand_under_the_names_that_the_provider_reads() {
    let named = ONE.replace("KEY}", "KEY, claims: {subject: user, tenantId: org, scopes: scp}}");
    let claims =
        Scene::new(&named).make(&["--sub", "alice", "--tenant", "acme", "--scope", "a"]).unwrap();
    for (name, value) in [("sub", "alice"), ("user", "alice"), ("org", "acme"), ("scp", "a")] {
        assert_eq!(claims[name], value, "{name}");
    }
}

#[test]
fn what_cannot_be_made_is_said() {
    let scene = Scene::new(&format!("{ONE}{REAL}"));
    let said = |words: &[&str]| scene.make(words).unwrap_err();
    let alice = |more: &[&str]| said(&[&["--sub", "alice"], more].concat());
    assert!(said(&[]).contains("--sub"), "{}", said(&[]));
    for (words, part) in [
        (&["--provider", "main"][..], "tokens of `main` are its issuer's to make"),
        (&["--provider", "dav"], "did you mean `dev`?"),
        (&["--expires", "31d"], "between 1s and 30d"),
        (&["--expires", "0s"], "between 1s and 30d"),
        (&["--expires", "soon"], "write a span"),
        (&["--not-before", "1"], "write a span"),
        (&["--claim", "team"], "`name=text` or `name:=json`"),
        (&["--claim", "=x"], "needs a name"),
        (&["--claim", "exp:=1"], "--claim exp"),
        (&["--claim", "a:={"], "not JSON"),
        (&["--claim", "a=1", "--claim", "a=2"], "`a` is given twice"),
        (&["--plan", "x", "--claim", "plan=y"], "`plan` is given twice"),
        (&["--new-key", "x"], "cannot be used with"),
    ] {
        assert!(alice(words).contains(part), "{words:?}: {}", alice(words));
    }
    let two = Scene::new(&format!("{ONE}{}", ONE.replace("  dev:", "  dev2:")));
    assert!(two.make(&["--sub", "a"]).unwrap_err().contains("`dev` and `dev2`"));
    let none = Scene::new(REAL);
    assert!(none.make(&["--sub", "a"]).unwrap_err().contains("tokens of `main` are its issuer's"));
    let lost = Scene::new(&ONE.replace("KEY", "/nonexistent/key.pem"));
    assert!(lost.make(&["--sub", "a"]).unwrap_err().contains("cannot be read"));
    let other = Scene::new(&ONE.replace("KEY", "/dev/null"));
    assert!(other.make(&["--sub", "a"]).unwrap_err().contains("no private key"));
}

#[test]
fn a_new_key_is_its_owners_alone_and_replaces_nothing() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("new.pem");
    new_key(&file).unwrap();
    let first = std::fs::read(&file).unwrap();
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(DevelopmentKey::read(&first).is_ok());
    assert!(new_key(&file).unwrap_err().contains("cannot be made"));
    assert_eq!(std::fs::read(&file).unwrap(), first);
}
