//! What a service manager is told, over a real notify socket: this test is the manager.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram as Blocking};

use tidegate_kit::{Context as _, Exit, Gateway, Origin, Outcome, Result, Setup, Signal, wait};
use tokio::net::UnixDatagram;

use crate::{api, gateway, open_route};

/// The manager's end of the protocol.
struct Manager {
    socket: UnixDatagram,
    /// As it stands in `NOTIFY_SOCKET`.
    name: String,
    _folder: tempfile::TempDir,
}

impl Manager {
    /// With a socket in a file, as systemd has it.
    fn in_a_file() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path)?;
        Ok(Self { socket, name: path.display().to_string(), _folder: folder })
    }

    /// With a socket that has a name and no file, as containers have it.
    fn without_a_file() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        // A name that no other test has.
        let name = format!("{}/notify", folder.path().display());
        let socket = Blocking::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
        socket.set_nonblocking(true)?;
        let socket = UnixDatagram::from_std(socket)?;
        Ok(Self { socket, name: format!("@{name}"), _folder: folder })
    }

    /// The environment of what it starts.
    fn environment(&self, setup: Setup) -> Setup {
        setup.environment("NOTIFY_SOCKET", &self.name)
    }

    /// The next datagram.
    async fn next(&self) -> Result<String> {
        let mut buffer = vec![0; 4096];
        let length = wait::within("word of the gateway", self.socket.recv(&mut buffer)).await??;
        buffer.truncate(length);
        Ok(String::from_utf8_lossy(&buffer).into_owned())
    }

    /// Everything up to the first datagram that holds this line, and that.
    async fn until(&self, line: &str) -> Result<Vec<String>> {
        let mut heard = Vec::new();
        loop {
            heard.push(self.next().await?);
            if heard.last().is_some_and(|words| says(words, line)) {
                return Ok(heard);
            }
        }
    }

    /// What has come and was not read, without waiting.
    fn rest(&self) -> Vec<String> {
        let mut heard = Vec::new();
        let mut words = Vec::with_capacity(4096);
        while self.socket.try_recv_buf(&mut words).is_ok() {
            heard.push(String::from_utf8_lossy(&words).into_owned());
            words.clear();
        }
        heard
    }
}

/// Whether a datagram has this line.
fn says(words: &str, line: &str) -> bool {
    words.lines().any(|told| told == line)
}

/// The value of a line `name=value`.
fn value<'a>(words: &'a str, name: &str) -> Option<&'a str> {
    words.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
}

fn numbered(origin: &Origin, version: u32) -> String {
    format!("configVersion: {version}\n{}{}", api(&[origin.address()]), open_route(""))
}

fn id(gateway: &Gateway) -> Result<String> {
    Ok(gateway.id().context("it runs")?.to_string())
}

/// R209: `systemctl start` waits for this, and knows then which process is the service.
#[tokio::test]
async fn ready_is_told_when_the_listeners_are_open() -> Outcome {
    let origin = Origin::start("api").await?;
    for manager in [Manager::in_a_file()?, Manager::without_a_file()?] {
        let setup = gateway(numbered(&origin, 7)).server("websocketGracePeriod: 20s");
        let mut gateway = manager.environment(setup).start().await?;
        let ready = manager.next().await?;
        assert!(says(&ready, "READY=1"), "{ready}");
        gateway.get("/").await?.expect(200)?;
        assert_eq!(value(&ready, "MAINPID"), Some(&*id(&gateway)?));
        let status = value(&ready, "STATUS").context("a status")?;
        assert!(status.ends_with(" serves 1 route, configuration 7"), "{status}");

        gateway.signal(Signal::TERM)?;
        let stopping = manager.next().await?;
        assert!(says(&stopping, "STOPPING=1"), "{stopping}");
        // The longer of the grace periods, and some time to leave.
        assert_eq!(value(&stopping, "EXTEND_TIMEOUT_USEC"), Some("25000000"));
        assert_eq!(gateway.exit().await?, Exit::Code(0));
        assert_eq!(manager.rest(), [""; 0], "nothing but that is said");
    }
    Ok(())
}

/// `Type=notify-reload` waits for both words after it has sent SIGHUP.
#[tokio::test]
async fn reloads_are_told_good_ones_and_refused_ones() -> Outcome {
    let origin = Origin::start("api").await?;
    let manager = Manager::in_a_file()?;
    let gateway = manager.environment(gateway(numbered(&origin, 1))).start().await?;
    manager.until("READY=1").await?;

    let mut last_time = 0;
    let mut reloaded = async |status: &str| -> Outcome {
        let reloading = manager.next().await?;
        assert!(says(&reloading, "RELOADING=1"), "{reloading}");
        let time: u64 = value(&reloading, "MONOTONIC_USEC").context("a time")?.parse()?;
        assert!(time > last_time, "each has its own time");
        last_time = time;
        let ready = manager.next().await?;
        assert!(says(&ready, "READY=1"), "{ready}");
        let told = value(&ready, "STATUS").context("a status")?;
        assert!(told.ends_with(status), "{told}");
        Ok(())
    };
    gateway.signal(Signal::HUP)?;
    reloaded("configuration 1").await?;
    // A file that changes comes into force by itself; that is a reload like any other.
    gateway.write_config(&numbered(&origin, 2))?;
    reloaded("configuration 2").await?;
    gateway.write_config("routes: [unfinished")?;
    let refused = "configuration 2; the configuration file as it is now was refused";
    reloaded(refused).await?;
    gateway.signal(Signal::HUP)?;
    reloaded(refused).await?;
    gateway.write_config(&numbered(&origin, 3))?;
    reloaded("configuration 3").await?;
    assert_eq!(manager.rest(), [""; 0]);
    Ok(())
}

#[tokio::test]
async fn the_watchdog_gets_signs_of_life() -> Outcome {
    let origin = Origin::start("api").await?;
    let manager = Manager::in_a_file()?;
    let setup = manager.environment(gateway(numbered(&origin, 1)));
    let mut gateway = setup.environment("WATCHDOG_USEC", "200000").start().await?;
    manager.until("READY=1").await?;
    for _ in 0..5 {
        assert_eq!(manager.next().await?, "WATCHDOG=1\n");
    }
    // It goes on while what is in flight is finished: a drain that hangs must end too.
    let address = gateway.address();
    let held = tokio::spawn(async move {
        tidegate_kit::send(address, &tidegate_kit::Request::get("/hold/it")).await
    });
    origin.arrived(1).await?;
    gateway.signal(Signal::TERM)?;
    manager.until("STOPPING=1").await?;
    manager.until("WATCHDOG=1").await?;
    origin.release("it");
    held.await??.expect(200)?;
    assert_eq!(gateway.exit().await?, Exit::Code(0));
    Ok(())
}

/// A watchdog that waits for another process, such as a shell around this one, must not be fed.
#[tokio::test]
async fn the_watchdog_of_another_process_gets_none() -> Outcome {
    let origin = Origin::start("api").await?;
    let manager = Manager::in_a_file()?;
    let setup = manager.environment(gateway(numbered(&origin, 1)));
    // So often that one would be among the words below.
    let setup = setup.environment("WATCHDOG_USEC", "2000").environment("WATCHDOG_PID", "1");
    let gateway = setup.start().await?;
    let mut heard = manager.until("READY=1").await?;
    gateway.signal(Signal::HUP)?;
    heard.extend(manager.until("READY=1").await?);
    assert!(!heard.iter().any(|words| says(words, "WATCHDOG=1")), "{heard:?}");
    Ok(())
}

/// R209: the process that takes over becomes the main one and answers to the watchdog; the one
/// that drains is not the service any more, so nobody hears of a stop.
#[tokio::test]
async fn an_upgrade_names_the_new_process_and_stops_nothing() -> Outcome {
    let origin = Origin::start("api").await?;
    let manager = Manager::in_a_file()?;
    let setup = manager.environment(gateway(numbered(&origin, 1))).server("pidFile: tidegate.pid");
    // Of neither process, so that only the one that takes over gives signs of life.
    let setup = setup.environment("WATCHDOG_USEC", "20000").environment("WATCHDOG_PID", "1");
    let mut old = setup.start().await?;
    let ready = manager.next().await?;
    assert_eq!(value(&ready, "MAINPID"), Some(&*id(&old)?));

    let mut new = old.successor(&numbered(&origin, 2)).await?;
    new.runs_version(2).await?;
    let mut heard = manager.until("READY=1").await?;
    let ready = heard.last().context("word of the new one")?;
    assert_eq!(value(ready, "MAINPID"), Some(&*id(&new)?));
    assert_eq!(old.exit().await?, Exit::Code(0));
    heard.extend(manager.rest());
    assert!(!heard.iter().any(|words| says(words, "STOPPING=1")), "{heard:?}");
    manager.until("WATCHDOG=1").await?;

    new.signal(Signal::TERM)?;
    manager.until("STOPPING=1").await?;
    assert_eq!(new.exit().await?, Exit::Code(0));
    Ok(())
}
