//! The connections that read, by purpose. Reads of one purpose wait only for each other: long
//! lists do not delay a single order, and clients of the feed do not delay the relay.

use std::num::NonZeroUsize;
use std::sync::Arc;

use super::connections::{ConnectOptions, Connections};
use super::store_files::StoreFiles;
use crate::ports::PortError;

/// The connections that read the feed, in addition to the configured ones.
const FEED: NonZeroUsize = NonZeroUsize::MIN;

/// The connections that read. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Readers {
    /// Reads of one order or of one row: half of the configured connections.
    pub(super) points: Arc<Connections>,
    /// Lists and checks: the other half.
    pub(super) lists: Arc<Connections>,
    /// The feed.
    pub(super) feed: Arc<Connections>,
    /// The reads of the relay.
    background: Arc<Connections>,
}

impl Readers {
    /// Opens one connection of each purpose, so that reads need no new descriptor when none is
    /// left. `size` is the number for orders and lists.
    pub(super) fn open(
        options: &ConnectOptions,
        size: NonZeroUsize,
        files: Option<&Arc<StoreFiles>>,
    ) -> Result<Self, PortError> {
        let connections = |size| {
            let connections = Connections::new(options.clone(), size, files.cloned());
            connections.add(options.connect()?)?;
            Ok::<_, PortError>(connections)
        };
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
        let only = || Arc::clone(&self.background);
        Self { points: only(), lists: only(), feed: only(), background: only() }
    }
}
