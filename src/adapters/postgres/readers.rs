//! The connections that read, by purpose. Reads of one purpose wait only for each other: long
//! lists do not delay a single order, and clients of the feed do not delay the relay.

use std::num::NonZeroUsize;
use std::time::Duration;

use super::connect::{ConnectOptions, Purpose};
use super::options::ServerAddress;
use super::pool::Connections;
use crate::ports::PortError;

/// The connections that read the feed, in addition to the configured ones.
const FEED: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1);

/// The connections to a server that read, opened on demand. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Readers {
    /// Reads of one order or of one row: half of the configured connections.
    pub(super) points: Connections,
    /// Lists and checks: the other half.
    pub(super) lists: Connections,
    /// The feed.
    pub(super) feed: Connections,
    /// The reads of the relay and of the monitor of a standby.
    pub(super) background: Connections,
}

impl Readers {
    /// Returns the connections, none of them open. `size` is the number for orders and lists.
    pub(super) fn new(
        server: &ServerAddress,
        size: NonZeroUsize,
        timeout: Duration,
    ) -> Result<Self, PortError> {
        let connections =
            |size| Connections::new(ConnectOptions::new(server, Purpose::Read, timeout), size, timeout);
        let lists = NonZeroUsize::new(size.get() / 2).unwrap_or(NonZeroUsize::MIN);
        let points = NonZeroUsize::new(size.get() - size.get() / 2).unwrap_or(NonZeroUsize::MIN);
        Ok(Self {
            points: connections(points)?,
            lists: connections(lists)?,
            feed: connections(FEED)?,
            background: connections(NonZeroUsize::MIN)?,
        })
    }

    /// Returns connections for the relay, which no client can occupy.
    pub(super) fn for_relay(&self) -> Self {
        let only = || self.background.clone();
        Self { points: only(), lists: only(), feed: only(), background: only() }
    }
}
