//! The composition root: one place where every part meets.

use std::sync::Arc;
use std::time::Duration;

use pingora::listeners::{ListenerConfig, TcpSocketOptions};
use pingora::protocols::l4::stream::L4BufferSettings;
use pingora::server::configuration::{Opt, ServerConf};
use pingora::server::{RunArgs, Server};
use pingora::services::background::background_service;
use pingora::services::listening::Service;

use super::background::Upkeep;
use super::descriptors::{self, Shares};
use super::notify::Notify;
use super::process::Process;
use super::pulse::Beating;
use super::serving::Gate;
use super::sockets::Sockets;
use super::{activation, takeover};
use crate::admin::Admin;
use crate::live::Live;
use crate::model::{self, Config};
use crate::wire::Speaks;

/// How a process starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// It has its addresses from systemd, or binds them.
    Fresh,
    /// It takes the listening sockets over from the running process, if there is one.
    Upgrade,
}

/// Read buffer of a connection: smaller than Pingora's 64 KiB, which an idle connection would
/// hold for nothing; measured without cost for ordinary requests.
const READ_BUFFER: usize = 4096;

/// Write buffer of a connection: an answer whose header and body fit goes out in one system
/// call. With Pingora's 1460 bytes an ordinary answer of 1 KiB with quota headers takes two.
const WRITE_BUFFER: usize = 4096;

/// Write buffer of a connection of a listener that speaks HTTP/2: answers of several streams go
/// out together.
const WRITE_BUFFER_SHARED: usize = 16 * 1024;

/// Tries that Pingora allows a request at all; routes set their own, lower number. Never 0: that
/// closes connections without an answer.
const MAX_TRIES: usize = 6;

/// Seconds by which Pingora's own end of a process is later than ours.
const LEAVING_LATE: u64 = 60;

/// Runs the gateway until it is told to stop.
///
/// # Errors
/// When an address is taken, a file cannot be written, or the running process does not hand over.
pub fn run(live: &Arc<Live>, config: &Config, start: Start) -> std::io::Result<()> {
    let notify = Notify::from_env(start);
    notify.follow(live);
    let passed = activation::passed(config)?;
    let predecessor = match start {
        Start::Fresh => None,
        Start::Upgrade => takeover::ask(config)?,
    };
    let (predecessor, there) = match predecessor {
        Some((predecessor, handed)) => (Some(predecessor), handed),
        None => (None, passed),
    };
    let given_up = |error: &std::io::Error| {
        if let Some(predecessor) = &predecessor {
            predecessor.give_up(&error.to_string());
        }
    };
    let sockets = Arc::new(Sockets::obtain(config, there).inspect_err(given_up)?);
    look_up_endpoints(live, config).inspect_err(given_up)?;
    let (settings, threads) = (&config.server, threads(&config.server));
    let shares = Shares::of(descriptors::raise(), settings, threads);
    shares.tell(settings, threads);
    let mut server = Server::new_with_opt_and_conf(Some(Opt::default()), conf(settings, shares));
    server.bootstrap();
    let pulse = notify.pulse();
    let process = Process::new(live, config, sockets, notify);
    process.watch_end(&server).inspect_err(given_up)?;
    let mut gate = Gate::new();
    let table = process.table_of_clients().inspect_err(given_up)?;
    let service = gate.guard(process.data_plane(&server, shares), table, None);
    server.add_service(Beating { service, pulse });
    let table = process.table_of_operators().inspect_err(given_up)?;
    server.add_service(gate.guard(admin(live, config), table, Some(process.stop.admin())));
    let upkeep = Upkeep::new(Arc::clone(live), Arc::clone(&process.ears));
    server.add_service(background_service("upkeep", upkeep));
    let signals = process.signals();
    match predecessor {
        Some(predecessor) => takeover::begin(process, gate, predecessor)?,
        None => process.begin(gate)?,
    }
    server.run(RunArgs { shutdown_signal: Box::new(signals) });
    live.access_log.close();
    Ok(())
}

/// Looks every source of endpoints up once, before the first request can come. Takes as long as
/// the slowest of them, at most its time limit and `server.warmUpTimeout`; what is not found by
/// then is found later.
fn look_up_endpoints(live: &Live, config: &Config) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let upstreams = &live.upstreams;
    let first = upstreams.directory.look_up_first(&upstreams.health, &live.metrics);
    let longest = config.server.warm_up_timeout.get();
    // Late answers are logged by whoever asks again.
    let _ = runtime.block_on(async { tokio::time::timeout(longest, first).await });
    // A look-up that hangs in the operating system is left behind, not waited for.
    runtime.shutdown_background();
    Ok(())
}

/// Threads of the data plane.
fn threads(settings: &model::Server) -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    if settings.threads == 0 { processors } else { settings.threads }
}

fn conf(settings: &model::Server, shares: Shares) -> ServerConf {
    // `ExitWhenIdle` leaves before that is over.
    let grace = settings.grace_period.get().max(settings.websocket_grace_period.get());
    ServerConf {
        threads: threads(settings),
        upstream_keepalive_pool_size: shares.idle,
        max_retries: MAX_TRIES,
        grace_period_seconds: Some(grace.as_secs() + LEAVING_LATE),
        graceful_shutdown_timeout_seconds: Some(1),
        ..ServerConf::default()
    }
}

fn admin(live: &Arc<Live>, config: &Config) -> Service<Admin> {
    let mut service = Service::new("admin".to_owned(), Admin::new(Arc::clone(live)));
    service.threads = Some(1);
    service.add_listener(listen_on(&config.admin.address, Speaks::Http1));
    service
}

/// Pingora's settings of a listener; the socket itself is there already.
pub(super) fn listen_on(address: &str, speaks: Speaks) -> ListenerConfig {
    let write = if speaks.http2() { WRITE_BUFFER_SHARED } else { WRITE_BUFFER };
    let mut options = TcpSocketOptions::default();
    options.tcp_keepalive = Some(pingora::protocols::TcpKeepalive {
        idle: Duration::from_mins(1),
        interval: Duration::from_secs(10),
        count: 3,
        #[cfg(target_os = "linux")]
        user_timeout: Duration::ZERO,
    });
    ListenerConfig::tcp(address)
        .tcp_socket_options(options)
        .l4_buffer(L4BufferSettings::default().read(READ_BUFFER).write(write))
}
