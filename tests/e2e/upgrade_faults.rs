//! Upgrades that fail: somebody serves all the same, and says why.

use std::path::Path;

use tidegate_kit::{Exit, Gateway, Origin, Outcome, Result, Setup, Signal, ports};
use tokio::process::Command;

use crate::upgrade::{program, upgraded, versioned};
use crate::{BINARY, gateway};

/// A configuration that is never warm: its issuer does not answer.
fn cold(version: u32, origin: &Origin) -> Result<String> {
    let issuer = format!("http://127.0.0.1:{}", ports::free()?);
    Ok(versioned(version, origin)
        + &format!(
            "identityProviders:\n  main: {{issuer: {issuer}, audience: api, \
             algorithms: [ES256], jwksUrl: {issuer}/keys}}\n"
        ))
}

/// A gateway whose successors wait for longer than a test takes.
fn patient(origin: &Origin) -> Setup {
    gateway(versioned(1, origin)).server("warmUpTimeout: 60s")
}

/// A successor that has the sockets and is not ready.
async fn half_way(old: &Gateway, origin: &Origin) -> Result<Gateway> {
    let new = old.successor(&cold(2, origin)?).await?;
    new.log_says("has the listening sockets").await?;
    Ok(new)
}

/// The gateway serves with this version of the configuration, alone.
async fn serves(gateway: &Gateway, version: u64) -> Result<()> {
    gateway.runs_version(version).await?;
    for _ in 0..20 {
        gateway.get("/").await?.expect(200)?;
    }
    Ok(())
}

/// Whatever failed before, the next upgrade works.
async fn next_works(old: &mut Gateway) -> Outcome {
    let new = upgraded(old).await?;
    assert_eq!(old.exit().await?, Exit::Code(0));
    old.get("/").await?.expect(200)?;
    new.signal(Signal::TERM)?;
    Ok(())
}

/// Runs `tidegate upgrade` with a program that cannot take over; what it says.
async fn refused(gateway: &Gateway, program: &Path, more: &[&str]) -> Result<String> {
    let done = gateway.upgrade(program, more).await?;
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(1), "{said}");
    assert!(done.stdout.is_empty());
    assert!(said.contains("not upgraded: "), "{said}");
    Ok(said)
}

async fn counted(gateway: &Gateway, outcome: &str) -> Result<()> {
    let labels = [("outcome", outcome)];
    gateway.metric_until("tidegate_upgrades_total", &labels, |n| n > 0.5).await.map(|_| ())
}

#[tokio::test]
async fn a_binary_that_does_not_accept_the_configuration_is_not_started() -> Outcome {
    let origin = Origin::start("api").await?;
    let mut gateway = gateway(versioned(1, &origin)).start().await?;
    let strict = gateway.folder().join("strict");
    std::fs::write(&strict, "#!/bin/sh\necho 'line 3: no such key'; exit 1\n")?;
    let said = refused(&gateway, &strict, &[]).await;
    assert!(said.is_ok_and(|said| said.contains("ermission denied")), "it cannot be run");
    let strict = program(gateway.folder(), "stricter", "exit 7")?;
    let text = std::fs::read_to_string(&strict)?.replace("exit 0", "echo 'line 3: no'; exit 1");
    std::fs::write(&strict, text)?;
    let said = refused(&gateway, &strict, &[]).await?;
    assert!(said.contains("does not accept") && said.contains("line 3: no"), "{said}");
    let said = refused(&gateway, Path::new("/nowhere/tidegate"), &[]).await?;
    assert!(said.contains("/nowhere/tidegate"), "{said}");
    assert!(!gateway.log().contains("started a new process"));
    serves(&gateway, 1).await?;
    next_works(&mut gateway).await
}

#[tokio::test]
async fn a_new_process_that_ends_at_once_changes_nothing() -> Outcome {
    let origin = Origin::start("api").await?;
    let mut gateway = gateway(versioned(1, &origin)).start().await?;
    let crashing = program(gateway.folder(), "crashing", "echo 'out of luck' >&2; exit 3")?;
    let said = refused(&gateway, &crashing, &[]).await?;
    for part in ["without asking for the sockets", "exit status: 3", "out of luck", "goes on"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    counted(&gateway, "not_started").await?;
    gateway.log_says("the upgrade has failed").await?;
    gateway.log_says("out of luck").await?;
    serves(&gateway, 1).await?;
    next_works(&mut gateway).await
}

/// A time that turns out too short for a new process can be raised in the file that it reads.
#[tokio::test]
async fn the_time_for_a_new_process_is_that_of_the_file() -> Outcome {
    let origin = Origin::start("api").await?;
    let mut gateway = gateway(versioned(1, &origin)).server("upgradeTimeout: 60s").start().await?;
    let text = std::fs::read_to_string(gateway.file())?;
    gateway.write_file(&text.replace("upgradeTimeout: 60s", "upgradeTimeout: 1s"))?;
    let hanging = program(gateway.folder(), "hanging", "exec sleep 600")?;
    let said = refused(&gateway, &hanging, &[]).await?;
    assert!(said.contains("was not ready within 1s"), "{said}");
    let said = refused(&gateway, &hanging, &["--timeout", "1000000000years"]).await?;
    assert!(said.contains("--timeout 1000000000years: at most 24h"), "{said}");
    next_works(&mut gateway).await
}

#[tokio::test]
async fn a_new_process_that_hangs_is_ended() -> Outcome {
    let origin = Origin::start("api").await?;
    let mut gateway = gateway(versioned(1, &origin)).start().await?;
    let script = "echo $$ > hanging.pid; exec sleep 600";
    let hanging = program(gateway.folder(), "hanging", script)?;
    let said = refused(&gateway, &hanging, &["--timeout", "2s"]).await?;
    assert!(said.contains("was not ready within"), "{said}");
    counted(&gateway, "timed_out").await?;
    let pid = std::fs::read_to_string(gateway.folder().join("hanging.pid"))?;
    assert!(!Path::new("/proc").join(pid.trim()).exists(), "it was ended, and waited for");
    serves(&gateway, 1).await?;
    next_works(&mut gateway).await
}

/// It says so itself: what it cannot have is an address that somebody else has.
#[tokio::test]
async fn a_new_process_that_cannot_have_an_address_gives_up() -> Outcome {
    let origin = Origin::start("api").await?;
    let mut old = gateway(versioned(1, &origin)).start().await?;
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let item = format!("{{name: second, address: \"{}\"}}", taken.local_addr()?);
    let mut new = old.succeeded_by(gateway(versioned(2, &origin)).beside(&item)).await?;
    assert_eq!(new.exit().await?, Exit::Code(1));
    counted(&old, "gave_up").await?;
    old.log_says(&format!("gave up: {}", taken.local_addr()?)).await?;
    serves(&old, 1).await?;
    next_works(&mut old).await
}

#[tokio::test]
async fn a_new_process_that_dies_with_the_sockets_changes_nothing() -> Outcome {
    let origin = Origin::start("api").await?;
    let mut old = patient(&origin).start().await?;
    let mut new = half_way(&old, &origin).await?;
    new.signal(Signal::KILL)?;
    assert_eq!(new.exit().await?, Exit::Signal);
    old.log_says("ended before it was ready").await?;
    counted(&old, "ended").await?;
    serves(&old, 1).await?;
    next_works(&mut old).await
}

#[tokio::test]
async fn a_new_process_that_is_never_ready_is_cut_off() -> Outcome {
    let origin = Origin::start("api").await?;
    let mut old = patient(&origin).server("upgradeTimeout: 1s").start().await?;
    let mut new = half_way(&old, &origin).await?;
    assert_eq!(new.exit().await?, Exit::Code(1));
    new.log_says("refuses to hand over: the new process was not ready within 1s").await?;
    counted(&old, "timed_out").await?;
    serves(&old, 1).await?;
    // The next one is warm, and in time.
    next_works(&mut old).await
}

/// With the old process gone in the middle the new one is the only one, and does not wait.
#[tokio::test]
async fn the_death_of_the_old_process_leaves_the_new_one() -> Outcome {
    let origin = Origin::start("api").await?;
    let mut old = patient(&origin).start().await?;
    let new = half_way(&old, &origin).await?;
    assert!(!new.log().contains("has taken over"));
    old.signal(Signal::KILL)?;
    assert_eq!(old.exit().await?, Exit::Signal);
    new.log_says("the process before is gone").await?;
    serves(&new, 2).await?;
    let mut third = new.successor(&versioned(3, &origin)).await?;
    serves(&third, 3).await?;
    assert!(third.is_running()?);
    Ok(())
}

#[tokio::test]
async fn one_upgrade_at_a_time() -> Outcome {
    let origin = Origin::start("api").await?;
    let mut old = patient(&origin).start().await?;
    let mut first = half_way(&old, &origin).await?;
    let mut second = old.successor(&versioned(3, &origin)).await?;
    assert_eq!(second.exit().await?, Exit::Code(1));
    second.log_says("another upgrade is under way").await?;
    let said = refused(&old, Path::new(BINARY), &[]).await?;
    assert!(said.contains("another upgrade is under way"), "{said}");
    serves(&old, 1).await?;
    assert!(first.is_running()?);
    first.signal(Signal::KILL)?;
    first.exit().await?;
    counted(&old, "ended").await?;
    next_works(&mut old).await
}

/// With what it has, after its time.
#[tokio::test]
async fn a_new_process_that_stays_cold_serves_in_the_end() -> Outcome {
    let origin = Origin::start("api").await?;
    let mut old = gateway(versioned(1, &origin)).server("warmUpTimeout: 300ms").start().await?;
    let new = old.successor(&cold(2, &origin)?).await?;
    assert_eq!(old.exit().await?, Exit::Code(0));
    new.log_says("the key set of `main`").await?;
    serves(&new, 2).await?;
    Ok(())
}

#[tokio::test]
async fn another_gateway_does_not_take_the_upgrade_socket() -> Outcome {
    let origin = Origin::start("api").await?;
    let gateway = gateway(versioned(1, &origin)).start().await?;
    let text = std::fs::read_to_string(gateway.file())?
        .replace(&gateway.address().to_string(), &format!("127.0.0.1:{}", ports::free()?))
        .replace(&gateway.admin().to_string(), &format!("127.0.0.1:{}", ports::free()?));
    let file = gateway.folder().join("other.yaml");
    std::fs::write(&file, text)?;
    let mut other = Command::new(BINARY);
    let said = other.arg("run").arg(&file).kill_on_drop(true).output().await?;
    assert_eq!(said.status.code(), Some(1));
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains("another gateway, process"), "{said}");
    serves(&gateway, 1).await?;
    Ok(())
}

/// A crash leaves the file of the socket behind.
#[tokio::test]
async fn a_socket_left_behind_is_replaced() -> Outcome {
    let origin = Origin::start("api").await?;
    let mut crashed = gateway(versioned(1, &origin)).start().await?;
    crashed.signal(Signal::KILL)?;
    crashed.exit().await?;
    assert!(crashed.folder().join("upgrade.sock").exists());
    let mut new = crashed.successor(&versioned(2, &origin)).await?;
    serves(&new, 2).await?;
    next_works(&mut new).await
}
