//! The errors that keep the service from starting.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::adapters::journal::JournalError;
use crate::adapters::kafka::SecurityError;
use crate::adapters::postgres;
use crate::adapters::sqlite::OpenError;
use crate::app::Fork;
use crate::config::FLAGS;
use crate::ports::PortError;

/// An error that keeps the service from starting.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory could not be created.
    #[error("cannot create the data directory {} (data_dir){}", path.display(), in_the_way(cause))]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// The cause.
        #[source]
        cause: io::Error,
    },
    /// The SQLite store could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The PostgreSQL store could not be opened.
    #[error(transparent)]
    Postgres(#[from] postgres::OpenError),
    /// The schema must be created or updated first.
    #[error("{problem}; run: {command}")]
    Schema {
        /// The error of opening the store.
        problem: Box<StartError>,
        /// The command that creates or updates the schema.
        command: String,
    },
    /// The store was opened, but a request to it failed.
    #[error("the store does not answer (store.url)")]
    Store(#[from] PortError),
    /// The journal could not be opened.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The TLS or login settings of Kafka are invalid.
    #[error(transparent)]
    Kafka(#[from] SecurityError),
    /// The store has no events, and the event sink has some.
    #[error(transparent)]
    Fork(#[from] Fork),
    /// No event sink is configured, so the consumer has no source.
    #[error("events are not published (events.url is none:), so there is nothing to consume")]
    NoSource,
    /// The event source cannot be read.
    #[error("events cannot be read (events.url)")]
    Source(#[source] PortError),
    /// The operating system returned no random numbers.
    #[error("the operating system returned no random numbers")]
    Random(#[from] getrandom::Error),
    /// The metrics recorder could not be installed.
    #[error("the metrics recorder cannot be installed")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
    /// A listening address is in use or not available.
    #[error("cannot listen on {addr} ({key}){}", remedy(cause, key))]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// Its configuration key.
        key: &'static str,
        /// The cause.
        #[source]
        cause: io::Error,
    },
}

fn in_the_way(cause: &io::Error) -> &'static str {
    if cause.kind() == io::ErrorKind::AlreadyExists { ": a file has this name" } else { "" }
}

/// Returns what to do if an address cannot be listened on.
fn remedy(cause: &io::Error, key: &str) -> String {
    match cause.kind() {
        io::ErrorKind::AddrInUse => {
            let flag = FLAGS.iter().find(|(_, of)| *of == key).map(|(flag, _)| *flag);
            let other =
                flag.map_or_else(String::new, |flag| format!(", or choose another address with {flag}"));
            format!(": another process listens there; stop it{other}")
        }
        io::ErrorKind::AddrNotAvailable => ": this machine does not have the address".to_owned(),
        _ => String::new(),
    }
}
