//! The configuration, read once: defaults < file < environment < flags.
//!
//! A section is a struct in a file of its own. Its declaration is the one place
//! that names a key, its environment variable, its default, its bounds and its
//! meaning; the loader, the template and `pvz config show` read it off there.
//! Nothing here reads the environment or the clock of the process: the sources
//! are arguments. Everything is checked before a socket opens, and all faults
//! are reported at once, without secrets.
//!
//! confique makes the typed layers; the walk over them is ours, because it has
//! to say where a value came from and must not stop at the first fault.

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
mod keys;
mod layers;
mod log;
mod policy;
mod postgres_url;
mod render;
mod secret;
mod server;
mod store;
mod text;
mod writer;

pub use cache::{Cache, CacheUrl};
pub use consumer::Consumer;
pub use events::{Events, EventsUrl};
pub use fault::{ConfigErrors, Fault, Origin, Warning};
pub use kafka::{KafkaCompression, KafkaEncoding, KafkaSasl, KafkaUrl};
pub use keys::{FLAGS, Key, keys};
pub use log::{Log, LogFormat};
pub use policy::Policy;
pub use postgres_url::{PostgresAuthorities, PostgresSslMode, PostgresTls, PostgresUrl};
pub use render::template;
pub use secret::Secret;
pub use server::Server;
pub use store::{Store, StoreUrl};
pub use writer::Writer;

use layers::{Layers, Setting};

/// What each key is set to, by its path.
type Settings = BTreeMap<String, Setting>;

/// The whole configuration.
#[derive(Debug, Clone, PartialEq, Eq, confique::Config)]
pub struct Config {
    /// The folder for files of ours whose place is not set. Empty: "pvz" in
    /// the platform's data directory.
    #[config(env = "PVZ_DATA_DIR", default = "", deserialize_with = text::path)]
    pub data_dir: PathBuf,

    /// Where orders and events are kept.
    #[config(nested)]
    pub store: Store,

    /// What single orders are read from before the store is asked.
    #[config(nested)]
    pub cache: Cache,

    /// Where events are sent, besides the store that keeps them all.
    #[config(nested)]
    pub events: Events,

    /// The consumer of events, `pvz consume`. It reads where `events.url` says that
    /// events are sent.
    #[config(nested)]
    pub consumer: Consumer,

    /// The sockets, and the limits of what comes in through them.
    #[config(nested)]
    pub server: Server,

    /// The pool that turns waiting commands into group commits.
    #[config(nested)]
    pub writer: Writer,

    /// The rules of the point. Replicas must share them.
    #[config(nested)]
    pub policy: Policy,

    /// What is written to stderr, and how.
    #[config(nested)]
    pub log: Log,
}

/// Where a configuration is read from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// Flags as typed (`--store`, …, `--config`) and their values.
    pub flags: Vec<(&'static str, String)>,
    /// The environment; other programs' variables are passed over.
    pub env: Vec<(OsString, OsString)>,
    /// The folder for our data on this platform; `None` if it has none.
    pub data_dir: Option<PathBuf>,
}

/// A configuration that passed every check, and how it came about.
#[derive(Debug)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// What is worth a line in the log.
    pub warnings: Vec<Warning>,
    settings: Settings,
}

impl Loaded {
    /// What is in effect as TOML, each key with where it came from, secrets
    /// hidden.
    pub fn show(&self) -> String {
        render::effective(|path| self.settings.get(path))
    }
}

impl Config {
    /// Reads, merges and checks everything.
    ///
    /// # Errors
    /// Every fault there is.
    pub fn load(sources: &Sources) -> Result<(Self, Vec<Warning>), ConfigErrors> {
        Self::load_with_origins(sources).map(|loaded| (loaded.config, loaded.warnings))
    }

    /// The same, for those who want to show where each value came from.
    ///
    /// # Errors
    /// Every fault there is.
    pub fn load_with_origins(sources: &Sources) -> Result<Loaded, ConfigErrors> {
        let Layers { mut settings, mut faults, mut warnings } = Layers::gather(sources, &keys());
        let config = typed(&settings, &mut faults);
        let config = config.map(|config| config.resolved(sources, &mut settings, &mut faults));
        if let Some(Config { events, .. }) = &config
            && let EventsUrl::Kafka(url) = &events.url
        {
            kafka::check(events, url, &mut faults, &mut warnings);
        }
        match config {
            Some(config) if faults.is_empty() => Ok(Loaded { config, warnings, settings }),
            _ => Err(ConfigErrors(faults)),
        }
    }

    /// Fills in what depends on the platform or on another key, and checks what
    /// concerns more than one key.
    fn resolved(mut self, sources: &Sources, settings: &mut Settings, faults: &mut Vec<Fault>) -> Self {
        if self.data_dir.as_os_str().is_empty() {
            match &sources.data_dir {
                Some(path) => self.data_dir.clone_from(path),
                None => faults.push(Fault::new(
                    "data_dir",
                    "this user has no home directory: set it, or PVZ_DATA_DIR, or --data-dir",
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

    /// Two listeners on one address would fail only at the second socket.
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

/// Gives every value its type, each on its own, so that one fault hides no
/// other; a wrong value is replaced by the default, for the checks to go on.
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

/// A document with that one key.
fn nested(path: &str, value: toml::Value) -> toml::Value {
    path.rsplit('.')
        .fold(value, |value, name| toml::Value::Table(std::iter::once((name.to_owned(), value)).collect()))
}
