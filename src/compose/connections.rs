//! The limits of connections: as many as the limit of open files allows beside the
//! store.

use crate::adapters::connections::ConnectionOptions;
use crate::config::Config;

/// The most connections of an endpoint that are not configured.
const DEFAULT_MAX: usize = 10_000;

/// Descriptors of everything but clients of gRPC and REST: files, brokers, the
/// admin endpoint, connections that are refused.
const RESERVE: usize = 256;

/// Descriptors of a connection of the store: the files of SQLite.
const PER_STORE_CONNECTION: usize = 3;

/// Returns the limits and timeouts of the connections of an endpoint. `open_files` is the
/// limit of open files, if there is one.
pub fn connection_options(config: &Config, open_files: Option<u64>) -> ConnectionOptions {
    let server = &config.server;
    ConnectionOptions {
        max_connections: max_connections(config, open_files),
        header_timeout: server.header_timeout,
        write_timeout: server.write_timeout,
        idle_timeout: server.idle_timeout,
        ..ConnectionOptions::default()
    }
}

fn max_connections(config: &Config, open_files: Option<u64>) -> usize {
    let store = config.store.read_connections.get() + config.store.pool_size.get();
    let reserve = RESERVE + PER_STORE_CONNECTION * store;
    let open_files = open_files.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    let allowed = share(open_files, reserve);
    let configured = config.server.max_connections.unwrap_or(DEFAULT_MAX);
    if config.server.max_connections.is_some() && configured > allowed {
        tracing::warn!(
            configured,
            allowed,
            open_files,
            "the limit of open files allows fewer connections than server.max_connections"
        );
    }
    configured.min(allowed)
}

/// Returns the connections of gRPC and of REST, each: half of the descriptors beside
/// the reserve, and under a very low limit half of all.
fn share(open_files: usize, reserve: usize) -> usize {
    (open_files.saturating_sub(reserve) / 2).max(open_files / 4).max(1)
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn connections_leave_the_reserve() {
        for (open_files, share_of_each) in [(1_048_576, 524_138), (1_024, 362), (300, 75), (64, 16), (1, 1)] {
            assert_eq!(share(open_files, 300), share_of_each, "{open_files}");
        }
    }
}
