use std::fmt;
use std::time::Duration;

use super::text;

/// The cache in front of single-order reads.
#[derive(Debug, Clone, PartialEq, Eq, confique::Config)]
pub struct Cache {
    /// The cache: "moka:" (in the memory of this process) or "none:" (every read
    /// goes to the store).
    #[config(env = "PVZ_CACHE", default = "none:", deserialize_with = url)]
    pub url: CacheUrl,

    /// Memory of the cached orders.
    #[config(
        env = "PVZ_CACHE_SIZE",
        default = "64MiB",
        deserialize_with = text::bytes::<_, 1_048_576, 1_099_511_627_776>
    )]
    pub size: usize,

    /// Which orders leave a full cache: "tinylfu" (those that are read less often;
    /// a scan of many orders does not empty the cache) or "lru" (those that were
    /// not read for longest).
    #[config(env = "PVZ_CACHE_POLICY", default = "tinylfu", deserialize_with = policy)]
    pub policy: CachePolicy,

    /// The longest time for which an order is cached. It bounds how long a reader
    /// may see an old version if the server that changed the order was killed
    /// between its commit and its message to the other replicas, or if the
    /// database was changed by hand.
    #[config(env = "PVZ_CACHE_TTL", default = "10s", deserialize_with = text::duration::<_, 1, 3_600_000>)]
    pub ttl: Duration,

    /// The longest time for which it is cached that an order does not exist.
    #[config(
        env = "PVZ_CACHE_NEGATIVE_TTL",
        default = "1s",
        deserialize_with = text::duration::<_, 0, 3_600_000>
    )]
    pub negative_ttl: Duration,
}

/// The URL of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheUrl {
    /// Every read goes to the store.
    None,
    /// The memory of this process.
    Moka,
}

impl fmt::Display for CacheUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => formatter.write_str("none:"),
            Self::Moka => formatter.write_str("moka:"),
        }
    }
}

/// The order in which orders leave a full cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CachePolicy {
    /// Less often read orders first.
    TinyLfu,
    /// Least recently read orders first.
    Lru,
}

fn url<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<CacheUrl, D::Error> {
    text::read(deserializer, |text| match text.split_once(':') {
        Some(("none", "")) => Ok(CacheUrl::None),
        Some(("moka", "")) => Ok(CacheUrl::Moka),
        Some((scheme, _)) if scheme.starts_with("redis") => {
            Err("is not supported by this version: use moka: or none:")
        }
        _ => Err("must be moka: or none:"),
    })
}

fn policy<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<CachePolicy, D::Error> {
    text::read(deserializer, |text| match text {
        "tinylfu" => Ok(CachePolicy::TinyLfu),
        "lru" => Ok(CachePolicy::Lru),
        _ => Err("must be tinylfu or lru"),
    })
}
