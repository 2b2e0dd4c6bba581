//! Stopping and upgrading without losing a request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tidegate_kit::{
    Exit, Gateway, Origin, Outcome, RawConnection, Request, Result, Signal, send, wait,
};
use tokio::time::Instant;

use crate::{api, gateway, open_route};

/// A gateway with one public route and a long grace period, so that leaving early is seen.
async fn patient(origin: &Origin) -> Result<Gateway> {
    let config = api(&[origin.address()]) + &open_route("timeoutMs: 30000");
    gateway(config).server("gracePeriod: 15s").start().await
}

#[tokio::test]
async fn a_stop_lets_requests_in_flight_finish() -> Outcome {
    let origin = Origin::start("api").await?;
    let mut gateway = patient(&origin).await?;
    let address = gateway.address();
    let held = |target: &'static str| {
        tokio::spawn(async move { send(address, &Request::get(target)).await })
    };
    let (whole, streamed) = (held("/hold/it"), held("/hold-body/it"));
    origin.arrived(2).await?;
    gateway.signal(Signal::TERM)?;
    gateway.refuses_connections().await?;
    assert!(gateway.is_running()?);
    assert!(!whole.is_finished() && !streamed.is_finished());
    origin.release("it");
    let whole = whole.await??.expect(200)?;
    assert_eq!(whole.header("connection"), Some("close"));
    assert_eq!(streamed.await??.expect(200)?.text(), "first;second");
    assert_eq!(gateway.exit().await?, Exit::Code(0));
    let logged: Vec<_> = gateway.access_lines()?;
    assert_eq!(logged.len(), 2, "the last lines are written before it leaves");
    Ok(())
}

#[tokio::test]
async fn an_idle_gateway_leaves_at_once() -> Outcome {
    let origin = Origin::start("api").await?;
    let mut gateway = patient(&origin).await?;
    // An idle connection holds nobody up.
    let mut idle = RawConnection::connect(gateway.address()).await?;
    idle.request(&Request::get("/")).await?.expect(200)?;
    let began = Instant::now();
    gateway.signal(Signal::TERM)?;
    assert_eq!(gateway.exit().await?, Exit::Code(0));
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    idle.closed().await?;
    Ok(())
}

#[tokio::test]
async fn the_grace_period_ends() -> Outcome {
    let origin = Origin::start("api").await?;
    let config = api(&[origin.address()]) + &open_route("timeoutMs: 30000");
    let mut gateway = gateway(config).server("gracePeriod: 1s").start().await?;
    let address = gateway.address();
    let held = tokio::spawn(async move { send(address, &Request::get("/hold/ever")).await });
    origin.arrived(1).await?;
    let began = Instant::now();
    gateway.signal(Signal::TERM)?;
    assert_eq!(gateway.exit().await?, Exit::Code(0));
    assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    assert!(held.await?.is_err(), "what did not finish in time is cut off");
    Ok(())
}

/// A SIGQUIT that nobody waits for would be an outage.
#[tokio::test]
async fn a_hand_over_to_nobody_is_ignored() -> Outcome {
    let origin = Origin::start("api").await?;
    let mut gateway = patient(&origin).await?;
    gateway.signal(Signal::QUIT)?;
    gateway.log_says("SIGQUIT ignored").await?;
    gateway.get("/").await?.expect(200)?;
    assert!(gateway.is_running()?);
    Ok(())
}

/// R011: clients that open a connection for each request and clients that keep one; none of
/// them loses a request.
#[tokio::test]
async fn an_upgrade_under_load_loses_no_request() -> Outcome {
    let origin = Origin::start("api").await?;
    let config = |version: u32| {
        format!("configVersion: {version}\n{}{}", api(&[origin.address()]), open_route(""))
    };
    let mut old = gateway(config(1)).server("gracePeriod: 15s").start().await?;
    let load = Load::start(old.address(), 3, 3);
    load.served(200).await?;

    let new = old.successor(&config(2)).await?;
    new.waits_for_sockets().await?;
    old.signal(Signal::QUIT)?;
    new.runs_version(2).await?;
    assert_eq!(old.exit().await?, Exit::Code(0));
    let before = load.tally.served.load(Ordering::SeqCst);
    load.served(before + 200).await?;
    let tally = load.stop().await;

    let failures = tally.failures.lock().clone();
    assert!(failures.is_empty(), "{} failed, the first: {}", failures.len(), failures[0]);
    let versions: Vec<_> =
        new.access_lines()?.iter().map(|line| line["configVersion"].as_u64()).collect();
    assert!(versions.contains(&Some(1)) && versions.contains(&Some(2)));
    Ok(())
}

/// With a pid file the new process asks the old one itself.
#[tokio::test]
async fn an_upgrade_with_a_pid_file_needs_no_signal() -> Outcome {
    let origin = Origin::start("api").await?;
    let config = |version: u32| {
        format!("configVersion: {version}\n{}{}", api(&[origin.address()]), open_route(""))
    };
    let mut old = gateway(config(1)).server("pidFile: tidegate.pid").start().await?;
    let new = old.successor(&config(2)).await?;
    new.runs_version(2).await?;
    assert_eq!(old.exit().await?, Exit::Code(0));
    new.get("/").await?.expect(200)?;
    let pid = std::fs::read_to_string(new.file().with_file_name("tidegate.pid"))?;
    assert_eq!(Some(pid.trim()), new.id().map(|id| id.to_string()).as_deref());
    Ok(())
}

/// Clients that send requests without a pause.
struct Load {
    tally: Arc<Tally>,
    workers: Vec<tokio::task::JoinHandle<()>>,
}

#[derive(Default)]
struct Tally {
    served: AtomicU64,
    failures: parking_lot::Mutex<Vec<String>>,
    stop: AtomicBool,
}

impl Load {
    /// Starts clients that keep their connection, and clients that open one for each request.
    fn start(address: SocketAddr, keeping: usize, opening: usize) -> Self {
        let tally = Arc::new(Tally::default());
        let kinds = std::iter::repeat_n(true, keeping).chain(std::iter::repeat_n(false, opening));
        let workers =
            kinds.map(|keep| tokio::spawn(client(address, keep, Arc::clone(&tally)))).collect();
        Self { tally, workers }
    }

    async fn served(&self, count: u64) -> Result<()> {
        wait::until(&format!("{count} answers"), async || {
            (self.tally.served.load(Ordering::SeqCst) >= count).then_some(())
        })
        .await
    }

    async fn stop(self) -> Arc<Tally> {
        self.tally.stop.store(true, Ordering::SeqCst);
        for worker in self.workers {
            let _ = worker.await;
        }
        self.tally
    }
}

async fn client(address: SocketAddr, keep: bool, tally: Arc<Tally>) {
    let mut kept: Option<RawConnection> = None;
    while !tally.stop.load(Ordering::SeqCst) {
        let outcome = match kept.take() {
            Some(connection) => match once(connection).await {
                // Whoever keeps a connection must expect its end between two requests and open
                // another one (RFC 9112, 9.3.1); that is no failed request.
                Err(_) => open_and_send(address).await,
                good => good,
            },
            None => open_and_send(address).await,
        };
        match outcome {
            Ok(connection) => {
                tally.served.fetch_add(1, Ordering::SeqCst);
                kept = connection.filter(|_| keep);
            }
            Err(error) => tally.failures.lock().push(error.to_string()),
        }
    }
}

async fn open_and_send(address: SocketAddr) -> Result<Option<RawConnection>> {
    once(RawConnection::connect(address).await?).await
}

/// Sends one request; returns the connection where it may be kept.
async fn once(mut connection: RawConnection) -> Result<Option<RawConnection>> {
    let response = connection.request(&Request::get("/")).await?.expect(200)?;
    Ok((response.header("connection") != Some("close")).then_some(connection))
}
