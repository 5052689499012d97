use std::fmt;

use super::text;

/// The cache in front of single-order reads.
#[derive(Debug, Clone, PartialEq, Eq, confique::Config)]
pub struct Cache {
    /// The cache: "none:" (every read goes to the store).
    #[config(env = "PVZ_CACHE", default = "none:", deserialize_with = url)]
    pub url: CacheUrl,
}

/// The URL of the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CacheUrl {
    /// Every read goes to the store.
    None,
}

impl fmt::Display for CacheUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => formatter.write_str("none:"),
        }
    }
}

fn url<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<CacheUrl, D::Error> {
    text::read(deserializer, |text| match text.split_once(':') {
        Some(("none", "")) => Ok(CacheUrl::None),
        Some(("moka" | "redis" | "rediss", _)) => Err("is not supported by this version: use none:"),
        _ => Err("must be none:"),
    })
}
