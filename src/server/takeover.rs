//! A new process takes the place of the one that serves: gets its sockets, makes itself ready,
//! serves beside it, and has it drain.

use std::io;
use std::net::TcpListener;
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::predecessor::{Predecessor, Stands};
use super::process::Process;
use super::serving::Gate;
use crate::clock;
use crate::model::Config;

/// Between two looks at what is still missing.
const LOOK: Duration = Duration::from_millis(20);

/// Asks the running process for its sockets. Without one there is nobody to take over from, and
/// this process starts as any other: a unit may always say `--upgrade`.
///
/// # Errors
/// When it refuses, or does not answer.
pub(super) fn ask(config: &Config) -> io::Result<Option<(Predecessor, Vec<TcpListener>)>> {
    let settings = &config.server;
    let socket = Path::new(&settings.upgrade_socket);
    let found = Predecessor::ask(socket, settings.upgrade_timeout.get())?;
    if let Some((predecessor, sockets)) = &found {
        let (from, sockets) = (predecessor.pid().as_raw_nonzero().get(), sockets.len());
        tracing::info!(from, sockets, "has the listening sockets");
    } else {
        tracing::warn!(socket = settings.upgrade_socket, "nobody to take over from");
    }
    Ok(found)
}

/// Does the rest on a thread of its own, while the server begins to run.
///
/// # Errors
/// When there is no thread to be had.
pub(super) fn begin(process: Process, gate: Gate, predecessor: Predecessor) -> io::Result<()> {
    let take_over = move || take_over(&process, gate, &predecessor);
    thread::Builder::new().name("take-over".to_owned()).spawn(take_over).map(|_| ())
}

fn take_over(process: &Process, mut gate: Gate, predecessor: &Predecessor) {
    if let Stands::CutOff(why) = warm_up(process, predecessor) {
        // Nothing was accepted yet.
        tracing::error!(why, "leaving");
        process.end();
    }
    process.ears.wait();
    process.live.listens();
    if !gate.open() {
        tracing::error!("the listeners cannot be opened, leaving");
        predecessor.give_up("its listeners cannot be opened");
        process.end();
    }
    match predecessor.ready() {
        Stands::CutOff(why) => {
            // It has accepted connections by now: they are served to their end.
            tracing::error!(why, "the process before goes on serving, draining");
            process.stop.hand_over();
        }
        Stands::Dead => {
            tracing::warn!("the process before is gone, this one is the only one");
            succeed(process, predecessor);
        }
        Stands::Drains | Stands::Waits => succeed(process, predecessor),
    }
}

fn succeed(process: &Process, predecessor: &Predecessor) {
    // The service manager first: the predecessor may end as soon as it likes.
    process.is_ready(Some(predecessor.pid()));
    process.succeed(predecessor.pid());
}

/// Waits until this process knows what it should know, for as long as it may take and the
/// predecessor serves.
fn warm_up(process: &Process, predecessor: &Predecessor) -> Stands {
    let longest = process.config.server.warm_up_timeout.get();
    let until = clock::now().tick.instant() + longest;
    loop {
        let missing = process.live.is_cold();
        if missing.is_empty() {
            return Stands::Waits;
        }
        if clock::now().tick.instant() >= until {
            let missing = missing.join(", ");
            tracing::warn!(missing, "not warm after {}", humantime::format_duration(longest));
            return Stands::Waits;
        }
        match predecessor.stands(LOOK) {
            Stands::Waits => {}
            stands => return stands,
        }
    }
}
