use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::text;

/// Log output on stderr.
#[derive(Debug, Clone, PartialEq, Eq, confique::Config)]
pub struct Log {
    /// Level (off, error, warn, info, debug or trace), or levels by module, such as
    /// "info,pvz::app=debug".
    #[config(env = "PVZ_LOG_FILTER", default = "info", deserialize_with = filter)]
    pub filter: String,

    /// Format: "human", "json" or "auto" (human on a terminal, JSON otherwise).
    #[config(env = "PVZ_LOG_FORMAT", default = "auto", deserialize_with = format)]
    pub format: LogFormat,
}

/// Log format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Human-readable on a terminal, JSON otherwise.
    Auto,
    /// Human-readable.
    Human,
    /// One JSON object per line.
    Json,
}

fn filter<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    text::read(deserializer, |text| {
        // The library panics on some texts that are not ASCII.
        if text.is_ascii() && is_filter(text) && EnvFilter::try_new(text).is_ok() {
            return Ok(text.to_owned());
        }
        Err("must be a level (off, error, warn, info, debug, trace) or levels by module, such as \
             info,pvz::app=debug")
    })
}

/// Returns true if the text consists of levels, and of modules with their levels. The library takes any
/// other word for a module whose logs are all wanted, and so turns off the logs of all other modules.
fn is_filter(text: &str) -> bool {
    let mut directives = text.split(',').filter(|directive| !directive.is_empty()).peekable();
    directives.peek().is_some() && directives.all(is_directive)
}

fn is_directive(text: &str) -> bool {
    let is_level = |level: &str| !level.is_empty() && level.parse::<LevelFilter>().is_ok();
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    match text.rsplit_once('=') {
        // A span: the library checks it.
        Some((target, level)) if target.contains('[') => target.ends_with(']') && is_level(level),
        Some((module, level)) => module.split("::").all(is_name) && is_level(level),
        None => is_level(text),
    }
}

fn format<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<LogFormat, D::Error> {
    text::read(deserializer, |text| match text {
        "auto" => Ok(LogFormat::Auto),
        "human" => Ok(LogFormat::Human),
        "json" => Ok(LogFormat::Json),
        _ => Err("must be auto, human or json"),
    })
}
