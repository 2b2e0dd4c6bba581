//! `tidegate upgrade`: orders the running process to be replaced.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::channel::{Channel, Message};
use crate::clock;

/// How much longer than the new process may take the answer is waited for.
const SLACK: Duration = Duration::from_secs(10);

/// Longest time that an order may give a new process.
pub const TIMEOUT_MAX: Duration = Duration::from_hours(24);

/// Orders the process that listens at this upgrade socket to start `program` in its place, and
/// waits for the outcome. `progress` hears what happens meanwhile. Gives the id of the new process.
///
/// # Errors
/// Why the running process goes on serving, or that there is none, for people.
pub fn replace(
    socket: &Path,
    program: &Path,
    timeout: Duration,
    progress: impl Fn(&str),
) -> Result<i32, String> {
    let timeout = timeout.min(TIMEOUT_MAX);
    let until = clock::now().tick.instant() + timeout + SLACK;
    let unheard = |error: io::Error| {
        format!("{}: the running gateway cannot be asked: {error}", socket.display())
    };
    let channel = Channel::connect_to_order(socket).map_err(unheard)?;
    let old = channel.peer().as_raw_nonzero();
    let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
    let order = Message::Replace { program: program.to_owned(), timeout_ms };
    channel.say(&order).map_err(unheard)?;
    loop {
        match channel.hear(Some(until)).map_err(unheard)?.0 {
            Message::Started { pid, command } => {
                progress(&format!("process {old} has started process {pid}: {command}"));
            }
            Message::Replaced { pid } => {
                progress(&format!("process {pid} serves, process {old} drains"));
                return Ok(pid);
            }
            Message::Failed { why, lines } => {
                let mut told = format!("{why}; process {old} goes on serving");
                if !lines.is_empty() {
                    told.push_str("\nthe last it wrote:\n  ");
                    told.push_str(&lines.join("\n  "));
                }
                return Err(told);
            }
            Message::Refused { why } => {
                return Err(format!("{why}; process {old} goes on serving"));
            }
            said => return Err(format!("the running gateway says {said:?}")),
        }
    }
}
