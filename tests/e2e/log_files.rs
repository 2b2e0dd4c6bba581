//! Logs that others move away, and the journal.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tidegate_kit::{
    Exit, Gateway, Origin, Outcome, RawConnection, Request, Result, Setup, Signal, wait,
};

use crate::{BINARY, api, gateway, open_route};

async fn started(origin: &Origin) -> Result<Gateway> {
    gateway(api(&[origin.address()]) + &open_route("")).start().await
}

fn access_log(gateway: &Gateway) -> PathBuf {
    gateway.file().with_file_name("access.log")
}

/// Ids of the requests in a log, in their order.
fn ids(log: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let id = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
        let id = line.get("requestId").and_then(serde_json::Value::as_str);
        id.unwrap_or("(no line of the log)").to_owned()
    };
    whole.lines().map(id).collect()
}

async fn ask(gateway: &Gateway, id: &str) -> Outcome {
    gateway.send(&Request::get("/").header("x-request-id", id)).await?.expect(200)?;
    Ok(())
}

async fn appears(file: &Path) -> Result<()> {
    wait::until(&format!("{}", file.display()), async || file.exists().then_some(())).await
}

/// No file is copied and cut off: it is renamed, and after a signal a new one is begun.
#[tokio::test]
async fn a_signal_begins_a_new_access_log() -> Outcome {
    let origin = Origin::start("api").await?;
    let gateway = started(&origin).await?;
    let (log, moved) = (access_log(&gateway), gateway.file().with_file_name("access.log.1"));
    ask(&gateway, "before-the-move-1").await?;
    gateway.access_line("before-the-move-1").await?;
    std::fs::rename(&log, &moved)?;
    gateway.signal(Signal::USR1)?;
    appears(&log).await?;
    ask(&gateway, "after-the-move-01").await?;
    gateway.access_line("after-the-move-01").await?;
    assert_eq!(ids(&moved), ["before-the-move-1"]);
    assert_eq!(ids(&log), ["after-the-move-01"]);
    // A signal without a move begins nothing.
    gateway.signal(Signal::USR1)?;
    ask(&gateway, "after-the-move-02").await?;
    gateway.access_line("after-the-move-02").await?;
    assert_eq!(ids(&log), ["after-the-move-01", "after-the-move-02"]);
    Ok(())
}

/// Without a signal it is found out a moment later, and no line is lost meanwhile.
#[tokio::test]
async fn a_moved_access_log_is_noticed_and_loses_no_line() -> Outcome {
    let origin = Origin::start("api").await?;
    let gateway = started(&origin).await?;
    let log = access_log(&gateway);
    let mut files = Vec::new();
    let mut asked = Vec::new();
    for round in 0..3 {
        let moved = log.with_extension(format!("log.{round}"));
        for number in 0..20 {
            let id = format!("request-{round}-{number:04}");
            ask(&gateway, &id).await?;
            asked.push(id);
            if number == 10 {
                std::fs::rename(&log, &moved)?;
            }
        }
        files.push(moved);
        appears(&log).await?;
    }
    files.push(log);
    wait::until("every line", async || {
        let lines: usize = files.iter().map(|file| ids(file).len()).sum();
        (lines >= asked.len()).then_some(())
    })
    .await?;
    let mut logged: Vec<String> = files.iter().flat_map(|file| ids(file)).collect();
    logged.sort();
    assert_eq!(logged, asked);
    Ok(())
}

/// Where standard error is the journal, lines carry their priority; elsewhere they do not.
#[tokio::test]
async fn the_journal_is_told_priorities() -> Outcome {
    let origin = Origin::start("api").await?;
    let config = api(&[origin.address()]) + &open_route("");
    let folder = tempfile::tempdir()?;
    let script = folder.path().join("as-the-manager-starts-it");
    let text = format!(
        "#!/bin/sh\nJOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2)\nexport JOURNAL_STREAM\n\
         exec {BINARY} \"$@\"\n"
    );
    // Written under another name: a file that is open for writing cannot be run.
    let draft = folder.path().join("draft");
    std::fs::write(&draft, text)?;
    std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o755))?;
    std::fs::rename(&draft, &script)?;
    let gateway = Setup::new(&script, config.clone()).start().await?;
    gateway.write_config("routes: [unfinished")?;
    gateway.log_says("configuration refused").await?;
    let log = gateway.log();
    let line = |text: &str| log.lines().find(|line| line.contains(text)).unwrap_or_default();
    assert!(line("tidegate serves").starts_with("<6>"), "{log}");
    assert!(line("configuration refused").starts_with("<3>"), "{log}");

    let other = crate::gateway(config).environment("JOURNAL_STREAM", "1:1").start().await?;
    other.log_says("tidegate serves").await?;
    assert!(!other.log().contains("<6>"));
    Ok(())
}

/// A disk that hangs takes a write and never ends it: a pipe that nobody reads does the same.
#[tokio::test]
async fn an_access_log_that_hangs_does_not_hold_the_end_up() -> Outcome {
    let origin = Origin::start("api").await?;
    let folder = tempfile::tempdir()?;
    let pipe = folder.path().join("access.pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status()?.success());
    let _unread = std::fs::OpenOptions::new().read(true).write(true).open(&pipe)?;
    let setup = gateway(api(&[origin.address()]) + &open_route(""));
    let mut gateway = setup.access_log(&format!("path: {}", pipe.display())).start().await?;
    let mut client = RawConnection::connect(gateway.address()).await?;
    // More than a pipe and one batch of the writer hold.
    for _ in 0..400 {
        client.request(&Request::get("/")).await?.expect(200)?;
    }
    drop(client);
    gateway.signal(Signal::TERM)?;
    assert_eq!(gateway.exit().await?, Exit::Code(0));
    gateway.log_says("the access log takes no more lines").await?;
    Ok(())
}
