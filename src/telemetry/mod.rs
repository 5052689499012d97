//! Logs: structured, to stderr, for people on a terminal and JSON otherwise.
//! They name ids, never bodies and never secrets. Times are UTC in RFC 3339.
//! And the keeper of metrics, in `metrics`.

mod metrics;

use std::io::{self, IsTerminal as _};
use std::panic::PanicHookInfo;

use tracing::{Dispatch, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::MakeWriter;

pub use self::metrics::Metrics;
use crate::config::{Log, LogFormat};

/// Libraries that are not heard unless asked for.
const QUIET: [&str; 1] = ["rskafka"];

/// Why there are no logs.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter cannot be read; a checked configuration has none such.
    #[error("log.filter cannot be read")]
    Filter(#[from] ParseError),
    /// Somebody has set up logs in this process before.
    #[error("logs are set up already")]
    Twice(#[from] tracing::dispatcher::SetGlobalDefaultError),
}

/// How one line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// For people, in colour.
    Colour,
    /// For people, plain.
    Plain,
    /// One JSON object.
    Json,
}

impl Look {
    fn of(format: LogFormat, terminal: bool) -> Self {
        match (format, terminal) {
            (LogFormat::Json, _) | (LogFormat::Auto, false) => Self::Json,
            (LogFormat::Human, false) => Self::Plain,
            (LogFormat::Human | LogFormat::Auto, true) => Self::Colour,
        }
    }
}

/// Sends this process's logs to stderr, panics included. Once, at the start.
///
/// # Errors
/// When the filter cannot be read, or somebody was here before.
pub fn init(log: &Log) -> Result<(), TelemetryError> {
    let look = Look::of(log.format, io::stderr().is_terminal());
    let dispatch = dispatch(&log.filter, look, io::stderr)?;
    tracing::dispatcher::set_global_default(dispatch)?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// Where events go, for a process or, in tests, for a scope.
///
/// # Errors
/// When the filter cannot be read.
pub fn dispatch<W>(filter: &str, look: Look, writer: W) -> Result<Dispatch, ParseError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_new(quiet(filter))?)
        // Without this a log that cannot be written panics: it is reported by
        // `eprintln!`, to the same broken stderr.
        .log_internal_errors(false)
        .with_writer(writer);
    Ok(match look {
        // Whether colour is wanted (NO_COLOR) is the subscriber's to ask.
        Look::Colour => erase(builder.finish()),
        Look::Plain => erase(builder.with_ansi(false).finish()),
        Look::Json => erase(builder.json().flatten_event(true).finish()),
    })
}

/// The filter, with libraries silenced that log every try of what we try again
/// anyhow and report ourselves. Who names one in the filter hears it.
fn quiet(filter: &str) -> String {
    let unheard = QUIET.into_iter().filter(|library| !filter.contains(library));
    unheard.fold(filter.to_owned(), |filter, library| format!("{filter},{library}=off"))
}

fn erase(subscriber: impl Subscriber + Send + Sync) -> Dispatch {
    Dispatch::new(subscriber)
}

fn log_panic(info: &PanicHookInfo<'_>) {
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let message = info.payload_as_str().unwrap_or("(no text)");
    let thread = std::thread::current();
    tracing::error!(
        panic = message,
        place,
        thread = thread.name().unwrap_or_default(),
        backtrace = backtrace(),
        "a panic: this is a bug in the program"
    );
}

/// The stack, if `RUST_BACKTRACE` asks for one.
fn backtrace() -> Option<String> {
    use std::backtrace::{Backtrace, BacktraceStatus};

    let backtrace = Backtrace::capture();
    (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string())
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::{Look, dispatch, log_panic};
    use crate::config::LogFormat;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(filter: &str, look: Look, log: impl FnOnce()) -> String {
        let captured = Captured::default();
        let writer = captured.clone();
        tracing::dispatcher::with_default(&dispatch(filter, look, move || writer.clone()).unwrap(), log);
        let bytes = captured.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn json_has_the_fields_flat_and_the_time_in_utc() {
        let text = logged("info", Look::Json, || {
            let _span = tracing::info_span!("call", request = "r-1").entered();
            tracing::info!(order_id = "o-1", "accepted");
        });
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["message"], "accepted");
        assert_eq!(line["order_id"], "o-1");
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["span"]["request"], "r-1");
        let time = line["timestamp"].as_str().unwrap();
        assert!(time.ends_with('Z') && chrono::DateTime::parse_from_rfc3339(time).is_ok(), "{time}");
    }

    #[test]
    fn plain_has_no_escape_sequences_even_from_outside() {
        let text = logged("info", Look::Plain, || tracing::info!(actor = "a\u{1b}[2J", "hello"));
        assert!(text.contains("hello") && !text.contains('\u{1b}'), "{text:?}");
    }

    #[test]
    fn the_filter_filters_by_module() {
        let text = logged("error,pvz::telemetry=debug", Look::Plain, || {
            tracing::debug!("mine");
            tracing::info!(target: "other", "theirs");
        });
        assert!(text.contains("mine") && !text.contains("theirs"), "{text}");
    }

    #[test]
    fn a_noisy_library_is_heard_when_asked_for() {
        let log = || tracing::warn!(target: "rskafka::connection", "Failed to connect to broker");
        assert_eq!(logged("info", Look::Plain, log), "");
        assert!(logged("info,rskafka=warn", Look::Plain, log).contains("Failed to connect"));
    }

    #[test]
    fn the_look_follows_the_terminal_unless_told() {
        assert_eq!(Look::of(LogFormat::Auto, true), Look::Colour);
        assert_eq!(Look::of(LogFormat::Auto, false), Look::Json);
        assert_eq!(Look::of(LogFormat::Human, false), Look::Plain);
        assert_eq!(Look::of(LogFormat::Json, true), Look::Json);
    }

    #[test]
    fn a_panic_is_a_log_line() {
        let before = std::panic::take_hook();
        // The other tests of this process keep theirs.
        std::panic::set_hook(Box::new(move |info| {
            log_panic(info);
            before(info);
        }));
        let text = logged("info", Look::Json, || {
            assert!(std::panic::catch_unwind(|| panic!("on purpose")).is_err());
        });
        let line: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!(line["panic"], "on purpose");
        assert!(line["place"].as_str().unwrap().contains("telemetry"));
    }
}
