use tracing_subscriber::EnvFilter;

use super::text;

/// What is written to stderr, and how.
#[derive(Debug, Clone, PartialEq, Eq, confique::Config)]
pub struct Log {
    /// Which messages: a level (error, warn, info, debug, trace), or levels by
    /// module, such as "info,pvz::app=debug".
    #[config(env = "PVZ_LOG_FILTER", default = "info", deserialize_with = filter)]
    pub filter: String,

    /// How they look: "human", "json", or "auto" (human on a terminal, JSON
    /// otherwise).
    #[config(env = "PVZ_LOG_FORMAT", default = "auto", deserialize_with = format)]
    pub format: LogFormat,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people on a terminal, JSON otherwise.
    Auto,
    /// For people.
    Human,
    /// One JSON object a line.
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
