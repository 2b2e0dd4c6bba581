//! `tidegate reload`.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;

use super::args::{INSTALLED, ReloadArgs, Running};
use super::client::{Client, Method};

/// Longest time for an answer: ten thousand routes are compiled at the lowest priority, and the
/// first look-up of new endpoints is waited for.
const TIMEOUT: Duration = Duration::from_mins(1);

pub(super) fn reload(args: &ReloadArgs) -> Result<String, String> {
    let ReloadArgs { file, admin, json } = args;
    let installed = || admin.is_none().then(|| INSTALLED.into());
    let config = file.clone().or_else(installed);
    let running = Running { admin: admin.clone(), config, json: *json };
    let client = Client::of(&running)?.patient(TIMEOUT);
    let told = client.ask(Method::Post, "/admin/reload")?;
    Ok(if args.json { format!("{told:#}\n") } else { in_words(&told) })
}

/// What came into force, in a few lines.
fn in_words(told: &Value) -> String {
    let text = |key: &str| told.get(key).and_then(Value::as_str).unwrap_or("-");
    let version = told.get("configVersion").map_or_else(|| "-".to_owned(), Value::to_string);
    let mut words = format!("version {version} is in force, {}\n", text("checksum"));
    let list = |key: &str| told.get(key).and_then(Value::as_array).into_iter().flatten();
    let keys: Vec<&str> = list("needsRestart").filter_map(Value::as_str).collect();
    if !keys.is_empty() {
        words.push_str("changed, and in effect only after a restart or an upgrade: ");
        words.push_str(&keys.join(", "));
        words.push('\n');
    }
    let count = list("warnings").count();
    if count > 0 {
        // Writing to a string cannot fail.
        let _ = writeln!(words, "{count} warnings; `tidegate check` shows them");
    }
    words
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_needs_a_restart_is_said() {
        let told = json!({"configVersion": 7, "checksum": "sha256:ab"});
        assert_eq!(in_words(&told), "version 7 is in force, sha256:ab\n");
        let told =
            json!({"configVersion": 7, "needsRestart": ["server", "admin"], "warnings": [0]});
        let words = in_words(&told);
        assert!(
            words.contains("upgrade: server, admin\n") && words.contains("1 warnings"),
            "{words}"
        );
    }
}
