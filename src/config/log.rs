use tracing_subscriber::EnvFilter;

use super::text;

/// Log output on stderr.
#[derive(Debug, Clone, PartialEq, Eq, confique::Config)]
pub struct Log {
    /// Level (error, warn, info, debug or trace), or levels by module, such as
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
    text::read(deserializer, |text| match EnvFilter::try_new(text) {
        Ok(_) if !text.is_empty() => Ok(text.to_owned()),
        _ => Err(
            "must be a level (error, warn, info, debug, trace) or levels by module, such as info,pvz::app=debug",
        ),
    })
}

fn format<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<LogFormat, D::Error> {
    text::read(deserializer, |text| match text {
        "auto" => Ok(LogFormat::Auto),
        "human" => Ok(LogFormat::Human),
        "json" => Ok(LogFormat::Json),
        _ => Err("must be auto, human or json"),
    })
}
