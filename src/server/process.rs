//! The parts of a process that know each other.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use pingora::server::{ListenFds, Server};
use pingora::services::listening::Service;
use rustix::process::Pid;

use super::arrivals::Arrivals;
use super::compose::listen_on;
use super::connections::Connections;
use super::descriptors::Shares;
use super::desk::{Desk, Listening};
use super::drain::ExitWhenIdle;
use super::ears::Ears;
use super::lifecycle;
use super::notify::Notify;
use super::pid_file::PidFile;
use super::serving::Gate;
use super::signals::Signals;
use super::sockets::Sockets;
use super::stop::Stop;
use crate::live::Live;
use crate::model::Config;
use crate::proxy::Gateway;
use crate::wire::Speaks;

/// A process that is being put together, or runs.
pub(super) struct Process {
    pub(super) live: Arc<Live>,
    pub(super) config: Config,
    pub(super) stop: Arc<Stop>,
    notify: Arc<Notify>,
    /// [`Signals`] and the upkeep.
    pub(super) ears: Arc<Ears>,
    sockets: Arc<Sockets>,
    desk: Arc<Desk>,
    arrivals: Arc<Arrivals>,
    listening: Arc<Mutex<Option<Listening>>>,
    pid_file: Arc<OnceLock<PidFile>>,
}

impl Process {
    pub(super) fn new(
        live: &Arc<Live>,
        config: &Config,
        sockets: Arc<Sockets>,
        notify: Arc<Notify>,
    ) -> Self {
        let stop = Arc::new(Stop::new());
        let patience = config.server.upgrade_timeout.get();
        let (ours, metrics) = (Arc::clone(&sockets), Arc::clone(&live.metrics));
        let desk = Arc::new(Desk::new(ours, Arc::clone(&stop), metrics, patience));
        Self {
            live: Arc::clone(live),
            config: config.clone(),
            stop,
            notify,
            ears: Arc::new(Ears::new(2)),
            sockets,
            desk,
            arrivals: Arc::default(),
            listening: Arc::default(),
            pid_file: Arc::default(),
        }
    }

    /// What serves clients.
    pub(super) fn data_plane(&self, server: &Server, shares: Shares) -> Service<Connections> {
        let gateway = Gateway::new(Arc::clone(&self.live));
        let proxy = pingora_proxy::http_proxy(&server.configuration, gateway);
        let (live, arrivals) = (Arc::clone(&self.live), Arc::clone(&self.arrivals));
        let most = shares.clients;
        let connections = Connections::new(live, proxy, &self.config, most, arrivals);
        let mut service = Service::new("gateway".to_owned(), connections);
        let snapshot = self.live.snapshot();
        for listener in &self.config.listeners {
            let compiled = snapshot.listeners.all().find(|found| found.name == listener.name);
            let speaks = compiled.map_or(Speaks::Http1, |found| found.rules.speaks);
            service.add_listener(listen_on(&listener.address, speaks));
        }
        service
    }

    /// The sockets of the data plane.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub(super) fn table_of_clients(&self) -> io::Result<ListenFds> {
        let addresses = self.config.listeners.iter().map(|listener| listener.address.as_str());
        self.sockets.table(addresses)
    }

    /// The socket of the admin listener.
    ///
    /// # Errors
    /// As above.
    pub(super) fn table_of_operators(&self) -> io::Result<ListenFds> {
        self.sockets.table([self.config.admin.address.as_str()].into_iter())
    }

    /// What ends the process.
    pub(super) fn signals(&self) -> Signals {
        Signals {
            live: Arc::clone(&self.live),
            notify: Arc::clone(&self.notify),
            ears: Arc::clone(&self.ears),
            longest: self.longest_drain(),
            stop: Arc::clone(&self.stop),
            sockets: Arc::clone(&self.sockets),
            desk: Arc::clone(&self.desk),
            listening: Arc::clone(&self.listening),
        }
    }

    /// Leaves when the process is told to end and nothing is under way.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(super) fn watch_end(&self, server: &Server) -> io::Result<()> {
        let exit = ExitWhenIdle {
            live: Arc::clone(&self.live),
            arrivals: Arc::clone(&self.arrivals),
            desk: Arc::clone(&self.desk),
            stop: Arc::clone(&self.stop),
            pid_file: Arc::clone(&self.pid_file),
            grace: self.config.server.grace_period.get(),
            websocket_grace: self.config.server.websocket_grace_period.get(),
        };
        exit.watch(server.watch_execution_phase())
    }

    /// Begins to serve, as the only process, as soon as the server runs.
    ///
    /// # Errors
    /// When another gateway has the upgrade socket, or the pid file cannot be written.
    pub(super) fn begin(self, mut gate: Gate) -> io::Result<()> {
        let listener = match Listening::at(self.socket(), None) {
            Ok((listening, listener)) => {
                *self.listening.lock() = Some(listening);
                Some(listener)
            }
            Err(error) if error.kind() == ErrorKind::AddrInUse => return Err(error),
            Err(error) => {
                let socket = &*self.config.server.upgrade_socket;
                tracing::warn!(socket, %error, "no upgrade socket: `tidegate upgrade` cannot work");
                None
            }
        };
        self.write_pid_file()?;
        let serve = move || {
            self.ears.wait();
            self.live.listens();
            if !gate.open() {
                tracing::error!("the listeners cannot be opened");
                self.end();
            }
            if let Some(listener) = listener
                && let Err(error) = self.desk.open(listener)
            {
                tracing::error!(%error, "`tidegate upgrade` cannot work");
            }
            self.is_ready(None);
        };
        thread::Builder::new().name("start".to_owned()).spawn(serve).map(|_| ())
    }

    /// Takes the place of the process that has handed over: its pid file, its upgrade socket.
    pub(super) fn succeed(&self, predecessor: Pid) {
        if let Err(error) = self.write_pid_file() {
            tracing::error!(%error, "the pid file cannot be written");
        }
        let opened =
            Listening::at(self.socket(), Some(predecessor)).and_then(|(ours, listener)| {
                *self.listening.lock() = Some(ours);
                self.desk.open(listener)
            });
        if let Err(error) = opened {
            tracing::error!(%error, "`tidegate upgrade` cannot work");
        }
    }

    /// The process serves; `took_over_from` says whom it has taken over from.
    pub(super) fn is_ready(&self, took_over_from: Option<Pid>) {
        let from = took_over_from.map(|pid| pid.as_raw_nonzero().get());
        lifecycle::ready(&self.live, &self.notify, from);
    }

    /// How long what is under way may take when the process ends.
    fn longest_drain(&self) -> Duration {
        let server = &self.config.server;
        server.grace_period.get().max(server.websocket_grace_period.get())
    }

    /// Ends a process that serves nobody.
    pub(super) fn end(&self) -> ! {
        self.live.access_log.close();
        std::process::exit(1)
    }

    fn socket(&self) -> &Path {
        Path::new(&self.config.server.upgrade_socket)
    }

    fn write_pid_file(&self) -> io::Result<()> {
        if let Some(path) = &self.config.server.pid_file {
            let _ = self.pid_file.set(PidFile::write(Path::new(path))?);
        }
        Ok(())
    }
}
