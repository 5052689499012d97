//! Structured logs on stderr, human-readable on a terminal and JSON otherwise,
//! and the metrics recorder. Log lines contain ids, but no bodies and no secrets.
//! Times are UTC in RFC 3339.

mod escape;
mod metrics;

use std::io::{self, IsTerminal as _};
use std::panic::PanicHookInfo;

use tracing::{Dispatch, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::MakeWriter;

use self::escape::Escaping;
pub use self::metrics::Metrics;
use crate::config::{Log, LogFormat};

/// Libraries whose logs are off unless `log.filter` names them.
const OFF_BY_DEFAULT: [&str; 1] = ["rskafka"];

/// An error that keeps logging from starting.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is invalid. A valid configuration never has one.
    #[error("log.filter is invalid")]
    Filter(#[from] ParseError),
    /// Logging was already initialized in this process.
    #[error("logging is already initialized")]
    AlreadyInitialized(#[from] tracing::dispatcher::SetGlobalDefaultError),
}

/// The format of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineFormat {
    /// Human-readable, in colour.
    Colour,
    /// Human-readable, without colour.
    Plain,
    /// A JSON object.
    Json,
}

impl LineFormat {
    fn of(format: LogFormat, terminal: bool) -> Self {
        match (format, terminal) {
            (LogFormat::Json, _) | (LogFormat::Auto, false) => Self::Json,
            (LogFormat::Human, false) => Self::Plain,
            (LogFormat::Human | LogFormat::Auto, true) => Self::Colour,
        }
    }
}

/// Sends the logs of the process, including panics, to stderr.
///
/// # Errors
/// Returns an error if the filter is invalid or logging is already initialized.
pub fn init(log: &Log) -> Result<(), TelemetryError> {
    let format = LineFormat::of(log.format, io::stderr().is_terminal());
    let dispatch = dispatch(&log.filter, format, io::stderr)?;
    tracing::dispatcher::set_global_default(dispatch)?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// Returns a subscriber that writes log lines to `writer`.
///
/// # Errors
/// Returns an error if the filter is invalid.
pub fn dispatch<W>(filter: &str, format: LineFormat, writer: W) -> Result<Dispatch, ParseError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_new(without_noise(filter))?)
        // Otherwise a failed write panics, because the subscriber reports it with
        // `eprintln!` to the same broken stderr.
        .log_internal_errors(false)
        .with_writer(Escaping { inner: writer, format });
    Ok(match format {
        // The subscriber itself honours NO_COLOR.
        LineFormat::Colour => erase(builder.finish()),
        LineFormat::Plain => erase(builder.with_ansi(false).finish()),
        LineFormat::Json => erase(builder.json().flatten_event(true).finish()),
    })
}

/// Turns off libraries that log every failed attempt, because pvz retries and
/// reports the failure itself. A library named in the filter stays on.
fn without_noise(filter: &str) -> String {
    let off = OFF_BY_DEFAULT.into_iter().filter(|library| !filter.contains(library));
    off.fold(filter.to_owned(), |filter, library| format!("{filter},{library}=off"))
}

fn erase(subscriber: impl Subscriber + Send + Sync) -> Dispatch {
    Dispatch::new(subscriber)
}

fn log_panic(info: &PanicHookInfo<'_>) {
    let location = info.location().map(ToString::to_string).unwrap_or_default();
    let message = info.payload_as_str().unwrap_or("(no text)");
    let thread = std::thread::current();
    tracing::error!(
        panic = message,
        location,
        thread = thread.name().unwrap_or_default(),
        backtrace = backtrace(),
        "panic: this is a bug in pvz, please report it"
    );
}

/// Returns the backtrace if `RUST_BACKTRACE` enables it.
fn backtrace() -> Option<String> {
    use std::backtrace::{Backtrace, BacktraceStatus};

    let backtrace = Backtrace::capture();
    (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string())
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::{LineFormat, dispatch, log_panic};
    use crate::config::LogFormat;
    use crate::domain::is_deceptive;

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

    fn logged(filter: &str, format: LineFormat, log: impl FnOnce()) -> String {
        let captured = Captured::default();
        let writer = captured.clone();
        tracing::dispatcher::with_default(&dispatch(filter, format, move || writer.clone()).unwrap(), log);
        let bytes = captured.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn json_lines_have_flat_fields_and_utc_times() {
        let text = logged("info", LineFormat::Json, || {
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
    fn plain_lines_contain_no_escape_sequences() {
        let text = logged("info", LineFormat::Plain, || tracing::info!(actor = "a\u{1b}[2J", "hello"));
        assert!(text.contains("hello") && !text.contains('\u{1b}'), "{text:?}");
    }

    #[test]
    fn deceptive_characters_are_escaped_in_every_format() {
        let path = std::path::Path::new("/srv/a\nb\u{202e}c\u{e0041}\u{9b}d\u{1b}[2J");
        for format in [LineFormat::Plain, LineFormat::Colour, LineFormat::Json] {
            let text = logged(
                "info",
                format,
                || tracing::info!(path = %path.display(), "opened {}", path.display()),
            );
            assert_eq!(text.lines().count(), 1, "{text:?}");
            let codes = ["0m", "2m", "3m", "32m"].map(|code| format!("\u{1b}[{code}"));
            let plain = codes.iter().fold(text.clone(), |text, code| text.replace(code, ""));
            assert!(!plain.trim_end().contains(is_deceptive), "{text:?}");
            if format == LineFormat::Json {
                let line: serde_json::Value = serde_json::from_str(&text).unwrap();
                assert_eq!(line["path"], path.to_str().unwrap());
            }
        }
    }

    #[test]
    fn filter_applies_by_module() {
        let text = logged("error,pvz::telemetry=debug", LineFormat::Plain, || {
            tracing::debug!("mine");
            tracing::info!(target: "other", "theirs");
        });
        assert!(text.contains("mine") && !text.contains("theirs"), "{text}");
    }

    #[test]
    fn noisy_library_is_logged_when_the_filter_names_it() {
        let log = || tracing::warn!(target: "rskafka::connection", "Failed to connect to broker");
        assert_eq!(logged("info", LineFormat::Plain, log), "");
        assert!(logged("info,rskafka=warn", LineFormat::Plain, log).contains("Failed to connect"));
    }

    #[test]
    fn format_follows_the_terminal_unless_configured() {
        assert_eq!(LineFormat::of(LogFormat::Auto, true), LineFormat::Colour);
        assert_eq!(LineFormat::of(LogFormat::Auto, false), LineFormat::Json);
        assert_eq!(LineFormat::of(LogFormat::Human, false), LineFormat::Plain);
        assert_eq!(LineFormat::of(LogFormat::Json, true), LineFormat::Json);
    }

    #[test]
    fn panic_is_logged() {
        let before = std::panic::take_hook();
        // Other tests of this process keep the previous hook.
        std::panic::set_hook(Box::new(move |info| {
            log_panic(info);
            before(info);
        }));
        let text = logged("info", LineFormat::Json, || {
            assert!(std::panic::catch_unwind(|| panic!("on purpose")).is_err());
        });
        let line: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!(line["panic"], "on purpose");
        assert!(line["location"].as_str().unwrap().contains("telemetry"));
    }
}
