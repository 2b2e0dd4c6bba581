//! The process log: what the gateway says about itself, on standard error.
//!
//! Where standard error is the journal of systemd, each line begins with its priority (`<3>` for
//! an error, see `sd-daemon(3)`), which the journal takes off, and has no time, which the
//! journal adds.

use std::fmt;
use std::io::IsTerminal;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use super::log_bounds::LogBounds;

/// What is logged when `RUST_LOG` does not say otherwise. Pingora logs an error for every client
/// that goes away; those are in the access log already.
const DEFAULT_FILTER: &str = "info,pingora_core=warn,pingora_proxy=off,h2=warn";

/// Starts logging to standard error: `json` for machines, else lines for people. Records of
/// libraries that use `log` are included. Of lines from one place of the program only so many are
/// written each second (see `log_bounds`). Later calls have no effect.
pub fn init_logging(json: bool) {
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // Or a reader of standard error that goes away would end the thread that logs.
        .log_internal_errors(false)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let stream = std::env::var("JOURNAL_STREAM").ok();
    let journal = stream.is_some_and(|stream| is_file(&stream, Path::new("/proc/self/fd/2")));
    // An error here means that a subscriber is already there, which is what was wanted.
    let bounds = LogBounds::default();
    let _ = match (json, journal) {
        (true, false) => builder.json().flatten_event(true).finish().with(bounds).try_init(),
        (false, false) => builder.compact().finish().with(bounds).try_init(),
        (true, true) => {
            let builder = builder.json().flatten_event(true).map_event_format(Ranked);
            builder.finish().with(bounds).try_init()
        }
        (false, true) => {
            let builder = builder.compact().without_time().map_event_format(Ranked);
            builder.finish().with(bounds).try_init()
        }
    };
}

/// Whether a file is the one that `JOURNAL_STREAM` names by device and number. The variable is
/// inherited by processes whose output goes elsewhere.
fn is_file(stream: &str, file: &Path) -> bool {
    let named = stream.split_once(':').map(|(device, number)| (device.parse(), number.parse()));
    let Some((Ok(device), Ok(number))) = named else { return false };
    std::fs::metadata(file).is_ok_and(|it| (it.dev(), it.ino()) == (device, number))
}

/// Lines that begin with their priority.
struct Ranked<F>(F);

impl<S, N, F> FormatEvent<S, N> for Ranked<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        write!(writer, "<{}>", priority(*event.metadata().level()))?;
        self.0.format_event(context, writer, event)
    }
}

/// Priorities of `syslog(3)`.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_is_known_by_device_and_number() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let it = file.as_file().metadata().unwrap();
        let (device, number) = (it.dev(), it.ino());
        assert!(is_file(&format!("{device}:{number}"), file.path()));
        for other in [
            format!("{device}:{}", number + 1),
            format!("{}:{number}", device + 1),
            format!("{number}"),
            String::new(),
            "a:b".to_owned(),
        ] {
            assert!(!is_file(&other, file.path()), "{other}");
        }
        assert!(!is_file(&format!("{device}:{number}"), Path::new("/nowhere")));
    }

    #[test]
    fn priorities_are_those_of_syslog() {
        let levels = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE];
        assert_eq!(levels.map(priority), [3, 4, 6, 7, 7]);
    }
}
