//! Another process takes the place of the one that serves, and nobody notices.

mod load;

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;

use tidegate_kit::{
    Authority, Context as _, Exit, Gateway, MixedPlace, Origin, Outcome, Process, RawConnection,
    Request, Result, Signal, Stray, WebSocketOrigin, ports, send, wait,
};
use tokio::process::Command;

use crate::{BINARY, api, gateway, open_route};
use load::Load;

fn free_address() -> Result<SocketAddr> {
    Ok((Ipv4Addr::LOCALHOST, ports::free()?).into())
}

/// A configuration with a version, so that it shows which process has answered.
pub(crate) fn versioned(version: u32, origin: &Origin) -> String {
    format!("configVersion: {version}\n{}{}", api(&[origin.address()]), open_route(""))
}

/// Runs `tidegate upgrade` with the binary that is tested; the new process.
pub(crate) async fn upgraded(gateway: &Gateway) -> Result<Stray> {
    let done = gateway.upgrade(Path::new(BINARY), &[]).await?;
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    let id = out.strip_prefix("upgraded: process ").and_then(|rest| rest.split(' ').next());
    let id = id.filter(|_| done.status.success()).and_then(|id| id.parse().ok());
    Stray::new(id.context(format_args!("{out}{err}\n{}", gateway.log()))?)
}

/// R011: whatever clients do at the time, none of them loses a request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_upgrades_under_mixed_load_lose_no_request() -> Outcome {
    let (origin, websockets) = (Origin::start("api").await?, WebSocketOrigin::start().await?);
    let authority = Authority::new("test authority")?;
    let folder = tempfile::tempdir()?;
    let files = authority.leaf(&["a.example"])?.write(folder.path(), "a")?.yaml();
    let secure = free_address()?;
    let config = |version: u32| {
        format!(
            "configVersion: {version}\nservices:\n  api: {{endpoints: [{{address: \"{}\"}}]}}\n  \
             talk: {{endpoints: [{{address: \"{}\"}}]}}\nroutes:\n  - name: talk\n    \
             match: {{pathPrefix: /talk}}\n    upstream: {{service: talk}}\n    \
             policies: {{auth: none, upgrades: [websocket]}}\n  - name: all\n    \
             match: {{pathPrefix: /}}\n    upstream: {{service: api}}\n    \
             policies: {{auth: none}}\n",
            origin.address(),
            websockets.address()
        )
    };
    let listener =
        format!("{{name: secure, address: \"{secure}\", tls: {{certificates: [{{{files}}}]}}}}");
    let setup = gateway(config(1)).beside(&listener).server("gracePeriod: 15s");
    let mut running = setup.start().await?;
    let place = MixedPlace { plain: running.address(), secure, tls: authority.client() };
    let load = Load::start(&place);
    load.all_served(5).await?;
    for version in 2..=4 {
        let new = running.successor(&config(version)).await?;
        new.runs_version(u64::from(version)).await?;
        new.log_says("has taken over").await?;
        assert_eq!(running.exit().await?, Exit::Code(0));
        load.all_served(5).await?;
        running = new;
    }
    let failures = load.stop().await;
    assert!(failures.is_empty(), "{} failed, the first: {}", failures.len(), failures[0]);
    let lines = running.access_lines()?;
    for version in 1..=4 {
        assert!(lines.iter().any(|line| line["configVersion"] == version), "{version}");
    }
    Ok(())
}

/// The running process starts the new one, which inherits what it needs and nothing else.
#[tokio::test]
async fn the_command_replaces_the_process_again_and_again() -> Outcome {
    let origin = Origin::start("api").await?;
    let setup = gateway(versioned(1, &origin)).server("pidFile: tidegate.pid");
    let mut first = setup.start().await?;
    let second = upgraded(&first).await?;
    assert_eq!(first.exit().await?, Exit::Code(0));
    first.get("/").await?.expect(200)?;
    let third = upgraded(&first).await?;
    second.exit().await?;
    first.get("/").await?.expect(200)?;
    let pid = wait::until("the pid file", async || {
        let pid = std::fs::read_to_string(first.folder().join("tidegate.pid")).ok()?;
        (pid.trim() == third.id().to_string()).then_some(pid)
    });
    pid.await?;
    // The log goes on where the first process wrote it.
    assert_eq!(first.log().matches("has taken over").count(), 2, "{}", first.log());
    let command = std::fs::read_to_string(format!("/proc/{}/cmdline", third.id()))?;
    assert_eq!(command.matches("--upgrade").count(), 1, "{command:?}");
    Ok(())
}

/// The command is done when the next one can be given.
#[tokio::test]
async fn upgrades_may_follow_each_other_at_once() -> Outcome {
    let origin = Origin::start("api").await?;
    let mut first = gateway(versioned(1, &origin)).start().await?;
    let second = upgraded(&first).await?;
    let third = upgraded(&first).await?;
    assert_eq!(first.exit().await?, Exit::Code(0));
    second.exit().await?;
    first.get("/").await?.expect(200)?;
    assert_ne!(second.id(), third.id());
    Ok(())
}

/// A service manager that stops a service signals all its processes. The one that drains since an
/// upgrade has been told already.
#[tokio::test]
async fn a_stop_of_the_service_does_not_cut_off_what_the_process_before_does() -> Outcome {
    let origin = Origin::start("api").await?;
    let config = |version: u32| {
        let head = format!("configVersion: {version}\n");
        head + &api(&[origin.address()]) + &open_route("timeoutMs: 30000")
    };
    let mut old = gateway(config(1)).server("gracePeriod: 15s").start().await?;
    let address = old.address();
    let held = tokio::spawn(async move { send(address, &Request::get("/hold/it")).await });
    origin.arrived(1).await?;
    let mut new = old.successor(&config(2)).await?;
    new.log_says("has taken over").await?;
    old.log_says("another process serves, draining").await?;
    old.signal(Signal::TERM)?;
    new.signal(Signal::TERM)?;
    assert_eq!(new.exit().await?, Exit::Code(0));
    assert!(old.is_running()?);
    origin.release("it");
    held.await??.expect(200)?;
    assert_eq!(old.exit().await?, Exit::Code(0));
    Ok(())
}

/// R209: nothing is handed down from process to process but what is meant to be.
#[tokio::test]
async fn no_descriptor_is_left_over_from_the_processes_before() -> Outcome {
    let origin = Origin::start("api").await?;
    let mut first = gateway(versioned(1, &origin)).start().await?;
    let open = async |id: i32| -> Result<usize> {
        // What the last request has opened is closed soon.
        let folder = format!("/proc/{id}/fd");
        let mut before = usize::MAX;
        wait::until("descriptors to settle", async || {
            let now = std::fs::read_dir(&folder).ok()?.count();
            let same = now == before;
            before = now;
            same.then_some(now)
        })
        .await
    };
    let second = upgraded(&first).await?;
    first.exit().await?;
    let one = open(second.id()).await?;
    let third = upgraded(&first).await?;
    second.exit().await?;
    let fourth = upgraded(&first).await?;
    third.exit().await?;
    assert_eq!(open(fourth.id()).await?, one);
    Ok(())
}

/// What is new is bound, what is gone is closed, what stays is never closed in between.
#[tokio::test]
async fn an_upgrade_may_change_the_listeners() -> Outcome {
    let origin = Origin::start("api").await?;
    let (gone, new) = (free_address()?, free_address()?);
    let with = |version: u32, address: SocketAddr| {
        let setup = gateway(versioned(version, &origin));
        setup.beside(&format!("{{name: second, address: \"{address}\"}}"))
    };
    let mut old = with(1, gone).start().await?;
    send(gone, &Request::get("/")).await?.expect(200)?;
    let mut successor = old.succeeded_by(with(2, new)).await?;
    assert_eq!(old.exit().await?, Exit::Code(0));
    send(new, &Request::get("/")).await?.expect(200)?;
    successor.get("/").await?.expect(200)?;
    assert!(RawConnection::connect(gone).await.is_err());
    assert!(successor.is_running()?);
    Ok(())
}

/// A unit may always say `--upgrade`.
#[tokio::test]
async fn without_a_running_process_an_upgrade_is_a_start() -> Outcome {
    let origin = Origin::start("api").await?;
    let mut old = gateway(versioned(1, &origin)).start().await?;
    old.signal(Signal::TERM)?;
    old.exit().await?;
    let new = old.successor(&versioned(2, &origin)).await?;
    new.runs_version(2).await?;
    new.log_says("nobody to take over from").await?;
    new.get("/").await?.expect(200)?;
    upgraded(&new).await?;
    Ok(())
}

/// `LISTEN_FDS`, as systemd passes sockets: clients may connect before there is a process, and
/// the sockets go on to the next one like any others.
#[tokio::test]
async fn sockets_may_be_passed_by_a_launcher() -> Outcome {
    let origin = Origin::start("api").await?;
    let passed = TcpListener::bind("127.0.0.1:0")?;
    let address = passed.local_addr()?;
    let mut waiting = RawConnection::connect(address).await?;
    let (folder, admin) = (tempfile::tempdir()?, free_address()?);
    let config = |name: &str| {
        format!(
            "server: {{upgradeSocket: {0}/upgrade.sock}}\n\
             listeners: [{{name: {name}, address: \"{address}\"}}]\n\
             admin: {{address: \"{admin}\"}}\naccessLog: {{path: {0}/access.log}}\n{1}{2}",
            folder.path().display(),
            api(&[origin.address()]),
            open_route(""),
        )
    };
    let file = folder.path().join("gateway.yaml");
    std::fs::write(&file, config("main"))?;
    let launch = |passed: &TcpListener, name: &str| -> Result<Command> {
        let mut command = Command::new("sh");
        // The shell has the socket as its standard input, and makes it descriptor 3.
        let script = "export LISTEN_PID=$$; exec \"$@\" 3<&0 0</dev/null";
        command.args(["-c", script, "sh", BINARY, "run"]).arg(&file);
        command.env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", name);
        command.stdin(Stdio::from(std::os::fd::OwnedFd::from(passed.try_clone()?)));
        Ok(command)
    };
    let log = folder.path().join("gateway.log");
    let mut process = Process::spawn_as_it_is("gateway", launch(&passed, "main")?, &log)?;
    waiting.request(&Request::get("/")).await?.expect(200)?;
    assert!(process.log().contains("a listening socket was passed"), "{}", process.log());

    let mut upgrade = Command::new(BINARY);
    upgrade.arg("upgrade").arg(&file).args(["--binary", BINARY]).kill_on_drop(true);
    let done = wait::within("an upgrade", upgrade.output()).await??;
    assert!(done.status.success(), "{done:?}\n{}", process.log());
    assert_eq!(process.exit().await?, Exit::Code(0));
    send(address, &Request::get("/")).await?.expect(200)?;
    let out = String::from_utf8_lossy(&done.stdout).into_owned();
    let _new = Stray::new(out.split(' ').nth(2).and_then(|id| id.parse().ok()).context(out)?)?;

    // A name that contradicts the configuration.
    let elsewhere = TcpListener::bind("127.0.0.1:0")?;
    let log = folder.path().join("refused.log");
    let mut process = Process::spawn_as_it_is("gateway", launch(&elsewhere, "main")?, &log)?;
    assert_eq!(process.exit().await?, Exit::Code(1));
    assert!(process.log().contains("the socket `main` that was passed listens on"));
    Ok(())
}

/// A program for tests: it accepts every configuration, and runs as this script says.
pub(crate) fn program(folder: &Path, name: &str, run: &str) -> Result<std::path::PathBuf> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let path = folder.join(name);
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.create(true).truncate(true).write(true).mode(0o755).open(&path)?;
    write!(file, "#!/bin/sh\nif [ \"$1\" = check ]; then exit 0; fi\n{run}\n")?;
    Ok(path)
}
