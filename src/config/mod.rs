//! The configuration, read once: defaults < file < environment < flags.
//!
//! Each section is a struct in its own file. The struct declares a key's name,
//! environment variable, default, bounds and documentation; the loader, the
//! template and `pvz config show` use that declaration. This module does not
//! read the process environment: the sources are arguments. Every value is
//! validated before a socket opens, and all errors are reported at once, with
//! secrets hidden.
//!
//! confique provides the typed layers. Merging them is our code, because it
//! records the origin of each value and collects every error.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use confique::{Config as _, Layer as _};
use serde::Deserialize as _;

mod cache;
mod consumer;
mod events;
mod fault;
mod file;
mod kafka;
mod kafka_checks;
mod keys;
mod layers;
mod log;
mod passfile;
mod passwords;
mod policy;
mod postgres_url;
mod redact;
mod render;
mod secret;
mod server;
mod setting;
mod store;
mod text;
mod writer;

pub use cache::{Cache, CachePolicy, CacheUrl};
pub use consumer::Consumer;
pub use events::{Events, EventsUrl};
pub use fault::{ConfigErrors, Fault, Origin, Warning};
pub use kafka::{KafkaCompression, KafkaEncoding, KafkaSasl, KafkaUrl, MAX_TOPIC};
pub use keys::{FLAGS, Key, keys};
pub use log::{Log, LogFormat};
pub use passwords::password_in_flag;
pub use policy::Policy;
pub use postgres_url::{PostgresAuthorities, PostgresSslMode, PostgresTls, PostgresUrl};
pub use redact::redact;
pub use render::template;
pub use secret::Secret;
pub use server::Server;
pub use store::{Store, StoreUrl};
pub use writer::Writer;

use layers::Layers;
use passwords::Passwords;
use setting::Setting;

/// The setting of each key, by path.
type Settings = BTreeMap<String, Setting>;

/// The whole configuration.
#[derive(Debug, Clone, PartialEq, Eq, confique::Config)]
pub struct Config {
    /// The data directory: files without a path of their own are stored here.
    /// Empty: "pvz" in the platform's data directory.
    #[config(env = "PVZ_DATA_DIR", default = "", deserialize_with = text::path)]
    pub data_dir: PathBuf,

    /// The database of orders and events.
    #[config(nested)]
    pub store: Store,

    /// The cache in front of single-order reads.
    #[config(nested)]
    pub cache: Cache,

    /// The event sink: where events are published, in addition to the store.
    #[config(nested)]
    pub events: Events,

    /// The event consumer, `pvz consume`. It reads from `events.url`.
    #[config(nested)]
    pub consumer: Consumer,

    /// Listening addresses and request limits.
    #[config(nested)]
    pub server: Server,

    /// The writer pool, which commits commands in batches.
    #[config(nested)]
    pub writer: Writer,

    /// Business rules. All replicas must have the same ones.
    #[config(nested)]
    pub policy: Policy,

    /// Log output on stderr.
    #[config(nested)]
    pub log: Log,
}

/// The sources of a configuration.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// Flags as typed (`--store`, …, `--config`), with their values.
    pub flags: Vec<(&'static str, String)>,
    /// The environment: the `PVZ_` variables, and those with which libpq finds a password.
    pub env: Vec<(OsString, OsString)>,
    /// The platform's data directory for this program, if there is one.
    pub data_dir: Option<PathBuf>,
}

/// A valid configuration, with the origin of each value.
#[derive(Debug)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// Warnings to log at start.
    pub warnings: Vec<Warning>,
    settings: Settings,
}

impl Loaded {
    /// Returns the effective configuration as TOML, with the origin of each
    /// value as a comment and secrets hidden.
    pub fn show(&self) -> String {
        render::effective(|path| self.settings.get(path))
    }
}

impl Config {
    /// Reads, merges and validates the configuration.
    ///
    /// # Errors
    /// Returns all errors, not only the first.
    pub fn load(sources: &Sources) -> Result<(Self, Vec<Warning>), ConfigErrors> {
        Self::load_with_origins(sources).map(|loaded| (loaded.config, loaded.warnings))
    }

    /// Like [`load`](Self::load), with the origin of each value.
    ///
    /// # Errors
    /// Returns all errors, not only the first.
    pub fn load_with_origins(sources: &Sources) -> Result<Loaded, ConfigErrors> {
        let Layers { mut settings, mut faults, mut warnings } = Layers::merge(sources, &keys());
        let config = typed(&settings, &mut faults);
        let mut config = config.map(|config| config.resolved(sources, &mut settings, &mut faults));
        if let Some(config) = &mut config {
            let (settings, faults, warnings) = (&settings, &mut faults, &mut warnings);
            Passwords { env: &sources.env, settings, faults, warnings }.fill(config);
        }
        if let Some(Config { events, .. }) = &config
            && let EventsUrl::Kafka(url) = &events.url
        {
            kafka_checks::check(events, url, &mut faults, &mut warnings);
        }
        match config {
            Some(config) if faults.is_empty() => Ok(Loaded { config, warnings, settings }),
            _ => Err(ConfigErrors(faults)),
        }
    }

    /// Fills in defaults that depend on the platform or on other keys, and
    /// validates combinations of keys.
    fn resolved(mut self, sources: &Sources, settings: &mut Settings, faults: &mut Vec<Fault>) -> Self {
        if self.data_dir.as_os_str().is_empty() {
            match &sources.data_dir {
                Some(path) => self.data_dir.clone_from(path),
                None => faults.push(Fault::new(
                    "data_dir",
                    "is not set and this user has no home directory: set data_dir, PVZ_DATA_DIR or --data-dir",
                )),
            }
        }
        self.store.url = self.store.url.or_in(&self.data_dir, "pvz.db");
        self.consumer.store = self.consumer.store.or_in(&self.data_dir, "consumer.db");
        self.events.url = self.events.url.or_in(&self.data_dir);
        for (path, value) in [
            ("data_dir", self.data_dir.display().to_string()),
            ("store.url", self.store.url.to_string()),
            ("consumer.store", self.consumer.store.to_string()),
            ("events.url", self.events.url.to_string()),
        ] {
            if let Some(setting) = settings.get_mut(path) {
                setting.value = toml::Value::String(value);
            }
        }
        self.check_addresses(settings, faults);
        self
    }

    /// Refuses two listeners on one address here, because `bind` would fail only
    /// after the first socket is open.
    fn check_addresses(&self, settings: &Settings, faults: &mut Vec<Fault>) {
        let addresses = self.server.addresses();
        for (index, (path, address)) in addresses.iter().enumerate() {
            let clash = addresses[..index].iter().find(|(name, other)| {
                let wrong = faults.iter().any(|fault| fault.subject == *path || fault.subject == *name);
                let same_ip = address.ip() == other.ip()
                    || address.ip().is_unspecified()
                    || other.ip().is_unspecified();
                !wrong && address.port() != 0 && address.port() == other.port() && same_ip
            });
            if let (Some((other, _)), Some(setting)) = (clash, settings.get(*path)) {
                let fault = Fault::new(*path, format!("must differ from {other}, which has the same port"));
                faults.push(fault.with_value(&setting.value).from(setting.origin.clone()));
            }
        }
    }
}

/// Deserializes each value separately, so that every invalid value is reported.
/// An invalid value is replaced by its default so that validation can continue.
fn typed(settings: &Settings, faults: &mut Vec<Fault>) -> Option<Config> {
    type Layer = <Config as confique::Config>::Layer;
    let read = |path: &str, value: toml::Value| Layer::deserialize(nested(path, value));
    let mut merged = Layer::empty();
    for key in keys() {
        let path = key.path();
        let Some(Setting { value, origin }) = settings.get(&path) else { continue };
        let layer = read(&path, value.clone()).or_else(|error| {
            let problem = error.message().trim_end().to_owned();
            faults.push(Fault::new(path.as_str(), problem).with_value(value).from(origin.clone()));
            layers::default_of(&key).map_or(Ok(Layer::empty()), |default| read(&path, default))
        });
        if let Ok(layer) = layer {
            merged = layer.with_fallback(merged);
        }
    }
    Config::from_layer(merged).ok()
}

/// Returns a document with only this key.
fn nested(path: &str, value: toml::Value) -> toml::Value {
    path.rsplit('.')
        .fold(value, |value, name| toml::Value::Table(std::iter::once((name.to_owned(), value)).collect()))
}
