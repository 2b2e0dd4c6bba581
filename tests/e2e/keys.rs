//! `tidegate keys` and `tidegate tenants`: what they print, what they leave in the database, and
//! what they tell running gateways.

use std::path::{Path, PathBuf};
use std::process::Output;

use ring::hmac;
use serde_json::Value;
use tidegate_kit::{Context as _, Outcome, Postgres, Redis, Reply, Result, wait};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::BINARY;

const HASH_KEY: &str = "TEST-ONLY-0123456789abcdef012345";

/// A configuration with a database, in a folder of its own.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    /// `more` is further configuration. What else is wrong in it is none of the commands' business.
    fn new(url: Option<&str>, more: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let file = format!("sqlite:{}", folder.path().join("keys.db").display());
        let url = url.unwrap_or(&file);
        let config = format!(
            "database: {{url: \"{url}\", hashKey: \"${{env:HASH_KEY}}\"}}\n{more}\n\
             admin: {{token: \"${{env:TIDEGATE_TEST_ABSENT}}\"}}\n"
        );
        std::fs::write(folder.path().join("gateway.yaml"), config)?;
        Ok(Self { folder })
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("gateway.yaml")
    }

    fn database(&self) -> PathBuf {
        self.folder.path().join("keys.db")
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command.args(words).arg("--config").arg(self.file());
        command.env("HASH_KEY", HASH_KEY).env("USER", "olga").env_remove("SUDO_USER");
        command
    }

    /// Runs a command to its end.
    async fn run(&self, words: &[&str]) -> Result<Output> {
        end_of(self.command(words)).await
    }

    /// Runs a command that must succeed, and gives what it printed.
    async fn done(&self, words: &[&str]) -> Result<String> {
        let output = self.run(words).await?;
        if output.status.code() != Some(0) {
            return Err(tidegate_kit::Error::new(format!("{words:?}: {}", all(&output))));
        }
        Ok(text(&output.stdout))
    }

    async fn json(&self, words: &[&str]) -> Result<Value> {
        let words: Vec<&str> = words.iter().copied().chain(["--json"]).collect();
        Ok(serde_json::from_str(&self.done(&words).await?)?)
    }
}

async fn end_of(mut command: Command) -> Result<Output> {
    let run = command.kill_on_drop(true).output();
    Ok(wait::within("the command's end", run).await??)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn all(output: &Output) -> String {
    text(&output.stdout) + &text(&output.stderr)
}

/// The hash of a key, as documented: HMAC-SHA-256 under `database.hashKey`.
fn hash(key: &str) -> String {
    let secret = hmac::Key::new(hmac::HMAC_SHA256, HASH_KEY.as_bytes());
    let tag = hmac::sign(&secret, key.as_bytes());
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap_or_default();
    tag.as_ref().iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn is_key(text: &str) -> bool {
    text.len() == 41
        && text.strip_prefix("tg_").is_some_and(|s| s.bytes().all(|b| b.is_ascii_alphanumeric()))
}

/// Whether bytes hold a text.
fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// All bytes that a folder holds but for the configuration's.
fn bytes_in(folder: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_none_or(|end| end != "yaml") {
            bytes.extend(std::fs::read(path)?);
        }
    }
    Ok(bytes)
}

const CREATE: &[&str] = &[
    "keys",
    "create",
    "--client",
    "billing",
    "--tenant",
    "acme",
    "--plan",
    "gold",
    "--scope",
    "orders:read",
    "--scope",
    "orders:write",
    "--role",
    "admin",
    "--product",
    "orders",
    "--expires",
    "90d",
];

/// R101, T27: the one time that a key is seen, and what is kept of it.
#[tokio::test]
async fn a_key_is_shown_once_and_kept_as_a_hash() -> Outcome {
    let place = Place::new(None, "")?;
    let output = place.run(CREATE).await?;
    assert_eq!(output.status.code(), Some(0), "{}", all(&output));
    let printed = text(&output.stdout);
    let key = printed.trim_end();
    assert!(is_key(key) && printed == format!("{key}\n"), "{printed:?}");
    let note = text(&output.stderr);
    assert!(note.contains("not shown again") && !note.contains(key), "{note}");

    let listed = place.done(&["keys", "list"]).await?;
    let listed_json = place.done(&["keys", "list", "--json"]).await?;
    let list: Value = serde_json::from_str(&listed_json)?;
    let record = &list["keys"][0];
    let id = record["id"].as_str().context("id")?;
    let shown = place.done(&["keys", "show", id]).await?;
    let shown_json = place.json(&["keys", "show", id]).await?.to_string();
    for told in [&listed, &listed_json, &shown, &shown_json] {
        assert!(!told.contains(key) && !told.contains(&key[8..]), "{told}");
        assert!(!told.contains(&hash(key)), "{told}");
        for words in [id, &key[..8], "billing", "acme", "gold", "orders:write"] {
            assert!(told.contains(words), "no {words:?} in {told}");
        }
    }
    assert_eq!(record["state"], "active");
    assert_eq!((&record["clientId"], &record["active"]), (&"billing".into(), &true.into()));
    assert_eq!(record["products"], serde_json::json!(["orders"]));
    assert!(shown.contains("key.create by olga (uid "), "{shown}");

    let kept = bytes_in(place.folder.path())?;
    let raw: Vec<u8> = hash(key)
        .as_bytes()
        .chunks(2)
        .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    assert!(kept.windows(32).any(|window| window == raw), "the hash is kept");
    assert!(!holds(&kept, key) && !holds(&kept, &key[8..]), "the key is kept in clear");
    assert!(!holds(&kept, HASH_KEY));
    Ok(())
}

#[tokio::test]
async fn a_shared_database_keeps_no_key_either() -> Outcome {
    let postgres = Postgres::start().await?;
    let place = Place::new(Some(&postgres.database("keys").await?), "")?;
    let made = place.json(CREATE).await?;
    let key = made["secret"].as_str().context("secret")?;
    assert!(is_key(key), "{key}");
    let id = made["key"]["id"].as_str().context("id")?;
    let dump = postgres.dump("keys").await?;
    assert!(dump.contains(&hash(key)) && dump.contains("billing"), "{dump}");
    assert!(!dump.contains(&key[8..]) && !dump.contains(HASH_KEY), "{dump}");
    assert!(postgres.query("keys", "SELECT action, actor FROM audit").await?.contains("olga"));

    let rotated = place.json(&["keys", "rotate", id, "--grace", "1h"]).await?;
    assert_eq!(rotated["key"]["rotatedFrom"], id);
    assert_ne!(rotated["secret"].as_str(), Some(key));
    place.done(&["keys", "revoke", id]).await?;
    let list = place.json(&["keys", "list", "--client", "billing"]).await?;
    let mut states: Vec<_> =
        list["keys"].as_array().context("keys")?.iter().map(|key| &key["state"]).collect();
    states.sort_by_key(ToString::to_string);
    assert_eq!(states, ["active", "revoked"]);
    place.done(&["tenants", "set", "acme", "ACTIVE"]).await?;
    assert!(place.done(&["tenants", "list"]).await?.contains("acme  ACTIVE"));

    // A server that is away, and a password that must not be said.
    let away = Place::new(Some("postgres://u:hunter22@127.0.0.1:1/keys"), "")?;
    let output = away.run(&["keys", "list"]).await?;
    assert_eq!(output.status.code(), Some(1));
    let told = all(&output);
    assert!(told.contains("database") && !told.contains("hunter22"), "{told}");
    Ok(())
}

#[tokio::test]
async fn keys_are_revoked_and_replaced() -> Outcome {
    let place = Place::new(None, "")?;
    let first = place.json(CREATE).await?;
    let id = first["key"]["id"].as_str().context("id")?;
    let output = place.run(&["keys", "rotate", id, "--grace", "24h"]).await?;
    assert_eq!(output.status.code(), Some(0), "{}", all(&output));
    assert!(is_key(text(&output.stdout).trim_end()));
    assert!(text(&output.stderr).contains(&format!("{id} goes on until")), "{}", all(&output));
    let again = place.run(&["keys", "rotate", id]).await?;
    assert_eq!(again.status.code(), Some(1));
    assert!(all(&again).contains("successor is key_") && again.stdout.is_empty());

    let list = place.json(&["keys", "list", "--tenant", "acme"]).await?;
    let keys = list["keys"].as_array().context("keys")?;
    let successor = keys.iter().find(|key| key["rotatedFrom"] == id).context("successor")?;
    for same in ["clientId", "tenantId", "plan", "scopes", "roles", "products"] {
        assert_eq!(successor[same], first["key"][same], "{same}");
    }
    let next = successor["id"].as_str().context("id")?;
    let output = place.run(&["keys", "rotate", next, "--grace", "0s", "--expires", "1h"]).await?;
    assert!(text(&output.stderr).contains(&format!("{next} is revoked")), "{}", all(&output));
    let refused = place.run(&["keys", "rotate", next]).await?;
    assert_eq!(refused.status.code(), Some(1));

    for _ in 0..2 {
        assert_eq!(place.done(&["keys", "revoke", id]).await?, "");
    }
    let shown = place.json(&["keys", "show", id]).await?;
    assert_eq!(shown["key"]["state"], "revoked");
    let history = shown["history"].as_array().context("history")?;
    let actions: Vec<_> = history.iter().map(|event| event["action"].as_str()).collect();
    let expected = ["key.create", "key.rotate", "key.revoke", "key.revoke"].map(Some);
    assert_eq!(actions, expected);
    Ok(())
}

#[tokio::test]
async fn what_is_not_there_is_1_and_what_is_not_asked_right_is_2() -> Outcome {
    let place = Place::new(None, "")?;
    for words in [&["keys", "list"][..], &["keys", "revoke", "key_abc"], &["tenants", "list"]] {
        let output = place.run(words).await?;
        assert_eq!(output.status.code(), Some(1), "{words:?}: {}", all(&output));
        assert!(all(&output).contains("`tidegate keys create` makes it"), "{}", all(&output));
    }
    assert!(!place.database().exists(), "asking makes nothing");
    let key = place.done(&["keys", "create", "--client", "a"]).await?;
    let key = key.trim_end();
    for (words, code) in [
        (&["keys", "revoke", "key_absent"][..], 1),
        (&["keys", "rotate", "key_absent"], 1),
        (&["keys", "show", "key_absent"], 1),
        (&["tenants", "remove", "absent"], 1),
        (&["keys", "create", "--client", "a", "--expires", "0s"], 1),
        (&["keys", "create", "--client", "a", "--expires", "2001-01-01T00:00:00Z"], 1),
        (&["keys", "revoke", key], 2),
        (&["keys", "rotate", key], 2),
        (&["keys", "revoke"], 2),
        (&["keys", "create"], 2),
        (&["keys", "create", "--client", ""], 2),
        (&["keys", "create", "--client", "a\u{1b}[2J"], 2),
        (&["keys", "create", "--client", "a", "--scope", "two words"], 2),
        (&["keys", "create", "--client", "a", "--expires", "soon"], 2),
        (&["keys"], 2),
        (&["tenants", "set", "acme"], 2),
    ] {
        let output = place.run(words).await?;
        assert_eq!(output.status.code(), Some(code), "{words:?}: {}", all(&output));
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{words:?}");
        assert!(!all(&output).contains(key), "a key is repeated: {}", all(&output));
    }
    assert_eq!(place.json(&["keys", "list"]).await?["keys"].as_array().map(Vec::len), Some(1));

    let mut nowhere = Command::new(BINARY);
    nowhere.args(["keys", "list", "--config", "/nowhere/gateway.yaml"]);
    assert_eq!(end_of(nowhere).await?.status.code(), Some(1));
    std::fs::write(place.file(), "routes: []\n")?;
    let output = place.run(&["keys", "list"]).await?;
    assert_eq!(output.status.code(), Some(1));
    assert!(all(&output).contains("no `database`"), "{}", all(&output));
    Ok(())
}

#[tokio::test]
async fn what_is_wrong_with_the_database_is_said_with_its_place() -> Outcome {
    let place = Place::new(None, "")?;
    let mut short = place.command(&["keys", "create", "--client", "a"]);
    short.env("HASH_KEY", "hunter22");
    let output = end_of(short).await?;
    assert_eq!(output.status.code(), Some(1));
    let told = all(&output);
    assert!(told.contains("secret.short") && told.contains("gateway.yaml:1:"), "{told}");
    assert!(!told.contains("hunter22"), "{told}");
    let mut absent = place.command(&["keys", "list"]);
    absent.env_remove("HASH_KEY");
    let output = end_of(absent).await?;
    assert_eq!(output.status.code(), Some(1));
    assert!(all(&output).contains("`HASH_KEY` is not set"), "{}", all(&output));

    let wrong = Place::new(Some("mysql://u:hunter22@127.0.0.1/keys"), "")?;
    let output = wrong.run(&["keys", "list"]).await?;
    assert_eq!(output.status.code(), Some(1));
    let told = all(&output);
    assert!(told.contains("database.url") && !told.contains("hunter22"), "{told}");
    Ok(())
}

#[tokio::test]
async fn tenants_are_set_listed_and_removed() -> Outcome {
    let place = Place::new(None, "")?;
    place.done(&["tenants", "set", "acme", "ACTIVE"]).await?;
    place.done(&["tenants", "set", "Müller & Söhne'; --", "TRIAL"]).await?;
    place.done(&["tenants", "set", "acme", "SUSPENDED"]).await?;
    let list = place.json(&["tenants", "list"]).await?;
    let told: Vec<_> = list["tenants"]
        .as_array()
        .context("tenants")?
        .iter()
        .map(|tenant| (tenant["id"].as_str(), tenant["status"].as_str()))
        .collect();
    assert!(told.contains(&(Some("acme"), Some("SUSPENDED"))), "{told:?}");
    assert!(told.contains(&(Some("Müller & Söhne'; --"), Some("TRIAL"))), "{told:?}");
    assert_eq!(place.json(&["tenants", "remove", "acme"]).await?["removed"], "acme");
    assert!(!place.done(&["tenants", "list"]).await?.contains("acme"));
    Ok(())
}

/// R102, R114: running gateways forget what they knew, at once.
#[tokio::test]
async fn running_gateways_are_told_of_changes() -> Outcome {
    let mut redis = Redis::start().await?;
    let config = format!("redis: {{url: \"{}\", keyPrefix: gw}}", redis.url());
    let place = Place::new(None, &config)?;
    let made = place.json(&["keys", "create", "--client", "a"]).await?;
    let key = made["secret"].as_str().context("secret")?;
    let id = made["key"]["id"].as_str().context("id")?;
    let entry = format!("gw:auth:key:{}", hash(key));
    redis.query(&["SET", &entry, "known"]).await?;
    redis.query(&["SET", "gw:auth:tenant:acme", "known"]).await?;
    let mut news = subscribe(&redis, "gw:auth:news").await?;

    place.done(&["keys", "revoke", id]).await?;
    let told = next(&mut news).await?;
    assert_eq!(told, serde_json::json!({"purge": "apiKey", "hash": hash(key)}));
    assert_ne!(redis.query(&["GET", &entry]).await?, Reply::Text("known".to_owned()));
    place.done(&["tenants", "set", "acme", "SUSPENDED"]).await?;
    assert_eq!(next(&mut news).await?, serde_json::json!({"purge": "tenant", "id": "acme"}));
    let tenant = redis.query(&["GET", "gw:auth:tenant:acme"]).await?;
    assert_ne!(tenant, Reply::Text("known".to_owned()));
    place.done(&["tenants", "remove", "acme"]).await?;
    assert_eq!(next(&mut news).await?, serde_json::json!({"purge": "tenant", "id": "acme"}));

    let second = place.json(&["keys", "create", "--client", "b"]).await?;
    let (key, id) = (&second["secret"], second["key"]["id"].as_str().context("id")?);
    place.done(&["keys", "rotate", id]).await?;
    let told = next(&mut news).await?;
    assert_eq!(told["hash"], hash(key.as_str().context("secret")?), "the old key is news");

    redis.kill().await?;
    let output = place.run(&["keys", "revoke", id]).await?;
    assert_eq!(output.status.code(), Some(0), "the change is made all the same");
    let warning = text(&output.stderr);
    assert!(warning.contains("could not be told") && warning.contains("up to 5m"), "{warning}");
    assert_eq!(place.json(&["keys", "show", id]).await?["key"]["state"], "revoked");
    Ok(())
}

async fn subscribe(redis: &Redis, channel: &str) -> Result<BufReader<TcpStream>> {
    let mut stream = TcpStream::connect(redis.address()).await?;
    stream.write_all(format!("SUBSCRIBE {channel}\r\n").as_bytes()).await?;
    let mut reader = BufReader::new(stream);
    line_after(&mut reader, ":1").await?;
    Ok(reader)
}

/// The next message.
async fn next(reader: &mut BufReader<TcpStream>) -> Result<Value> {
    line_after(reader, "message").await?;
    // The channel with its length, then the length of the message.
    for _ in 0..3 {
        line(reader).await?;
    }
    Ok(serde_json::from_str(&line(reader).await?)?)
}

async fn line_after(reader: &mut BufReader<TcpStream>, wanted: &str) -> Result<()> {
    while line(reader).await? != wanted {}
    Ok(())
}

async fn line(reader: &mut BufReader<TcpStream>) -> Result<String> {
    let mut line = String::new();
    let read = wait::within("a line from Redis", reader.read_line(&mut line)).await??;
    if read == 0 {
        return Err(tidegate_kit::Error::new("Redis hung up"));
    }
    Ok(line.trim_end().to_owned())
}

/// A disk that is full: nothing is printed that is not kept, and what was kept stays whole.
#[tokio::test]
async fn a_full_disk_costs_no_key() -> Outcome {
    let place = Place::new(None, "")?;
    let first = place.json(&["keys", "create", "--client", "first"]).await?;
    let mut command = Command::new("sh");
    let script = "trap '' XFSZ; ulimit -f 4; exec \"$@\"";
    command.args(["-c", script, "sh", BINARY, "keys", "create", "--client", "second"]);
    command.arg("--config").arg(place.file()).env("HASH_KEY", HASH_KEY);
    let output = end_of(command).await?;
    assert_eq!(output.status.code(), Some(1), "{}", all(&output));
    assert!(output.stdout.is_empty(), "{}", all(&output));
    assert!(text(&output.stderr).contains("the database"), "{}", all(&output));
    let list = place.json(&["keys", "list"]).await?;
    assert_eq!(list["keys"].as_array().map(Vec::len), Some(1), "{list:#}");
    assert_eq!(list["keys"][0]["id"], first["key"]["id"]);
    place.done(&["keys", "create", "--client", "third"]).await?;
    Ok(())
}

/// A file that may not be written: reading goes on, changing is refused.
#[tokio::test]
async fn a_read_only_file_is_read_and_not_changed() -> Outcome {
    let place = Place::new(None, "")?;
    let made = place.json(&["keys", "create", "--client", "a"]).await?;
    let id = made["key"]["id"].as_str().context("id")?;
    chmod(&place, "400").await?;
    let output = unprivileged(&place, &["keys", "revoke", id]).await?;
    assert_eq!(output.status.code(), Some(1), "{}", all(&output));
    assert!(text(&output.stderr).contains("readonly"), "{}", all(&output));
    let output = unprivileged(&place, &["keys", "list", "--json"]).await?;
    assert_eq!(output.status.code(), Some(0), "{}", all(&output));
    let list: Value = serde_json::from_str(&text(&output.stdout))?;
    assert_eq!(list["keys"][0]["state"], "active");
    chmod(&place, "600").await?;
    place.done(&["keys", "revoke", id]).await?;
    Ok(())
}

async fn chmod(place: &Place, mode: &str) -> Result<Output> {
    let mut chmod = Command::new("chmod");
    chmod.arg(mode).arg(place.database());
    end_of(chmod).await
}

/// Runs a command for whom permissions count: for root they do only without some capabilities.
async fn unprivileged(place: &Place, words: &[&str]) -> Result<Output> {
    let plain = place.command(words);
    let plain = plain.as_std();
    let id = end_of({
        let mut id = Command::new("id");
        id.arg("-u");
        id
    })
    .await?;
    let mut command = if text(&id.stdout).trim() == "0" {
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set", "-dac_override,-dac_read_search", "--inh-caps", "-all"]);
        command.arg(plain.get_program());
        command
    } else {
        Command::new(plain.get_program())
    };
    command.args(plain.get_args()).env("HASH_KEY", HASH_KEY);
    end_of(command).await
}
