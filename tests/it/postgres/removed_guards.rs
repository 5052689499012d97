//! Canaries of the race tests: races with guards removed from the statements, which
//! two commands must win. A proxy edits the statements on the wire, so that no build
//! contains the bugs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pvz::adapters::postgres::PostgresStore;
use pvz::domain::BatchMode;
use pvz::ports::Outcome;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::cluster::{Database, cluster};
use super::run;
use crate::support::commands::{TestCommand, accept, issue, parcel};

/// A part of a statement and its replacement.
type Edit = (&'static str, &'static str);

/// The maximum number of rounds with a guard removed. Usually one of the first few
/// has two winners.
const MAX_ROUNDS: usize = 200;
/// The number of rounds with the guards in place, all of which run.
const GUARDED_ROUNDS: usize = 40;
/// The number of concurrent batches in a round.
const BATCHES: usize = 12;

const NO_ORDER_GUARD: Edit = ("(SELECT count(*) FROM new_orders) = cardinality($1)", "true");
const NO_RECORD_GUARD: Edit = ("(SELECT count(*) FROM new_records) = cardinality($16)", "true");
const NO_VERSION_GUARD: Edit = ("orders.version = change.loaded_version", "true");
const NO_LOCK: Edit = ("FOR UPDATE", "");

/// Forwards a connection with edited statements. Spaces pad a shorter replacement, so
/// that messages keep their length.
async fn forward_edited(
    client: TcpStream,
    server: u16,
    edits: &[Edit],
    edited: &AtomicUsize,
) -> std::io::Result<()> {
    let server = TcpStream::connect(("127.0.0.1", server)).await?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let answers = tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
    let mut bytes = vec![0; 1 << 16];
    while let length @ 1.. = from_client.read(&mut bytes).await? {
        for (text, replacement) in edits {
            while let Some(at) = bytes[..length].windows(text.len()).position(|part| part == text.as_bytes())
            {
                let padded = format!("{replacement:width$}", width = text.len());
                bytes[at..at + text.len()].copy_from_slice(padded.as_bytes());
                edited.fetch_add(1, Ordering::Relaxed);
            }
        }
        to_server.write_all(&bytes[..length]).await?;
    }
    answers.abort();
    Ok(())
}

/// Two replicas behind a proxy that edits their statements.
struct EditedReplicas {
    stores: [Arc<PostgresStore>; 2],
    edited: Arc<AtomicUsize>,
    _database: Database,
}

impl EditedReplicas {
    async fn new(edits: &'static [Edit]) -> Self {
        let database = cluster().database(true).await;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let (port, server) = (listener.local_addr().unwrap().port(), database.port);
        let edited = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&edited);
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let count = Arc::clone(&count);
                tokio::spawn(async move { forward_edited(client, server, edits, &count).await });
            }
        });
        let mut options = database.options();
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(port).user("pvz").dbname(&database.name);
        options.server.config = config;
        let open = || async { Arc::new(PostgresStore::open(&options).await.unwrap()) };
        Self { stores: [open().await, open().await], edited, _database: database }
    }

    /// Runs commands concurrently. Returns the number of those that succeed and are not
    /// replays.
    async fn winners(&self, command: impl Fn(usize) -> TestCommand) -> usize {
        let mut running = JoinSet::new();
        for number in 0..BATCHES {
            let (store, command) = (Arc::clone(&self.stores[number % 2]), command(number));
            running.spawn(async move { run(&*store, &[command]).await });
        }
        let won = |outcome: &Outcome| outcome.answer.is_ok() && !outcome.replayed;
        running.join_all().await.into_iter().flatten().flatten().filter(won).count()
    }
}

/// The contested resource: one command may create or change it.
#[derive(Debug, Clone, Copy)]
enum Race {
    Order,
    RequestId,
    Issue,
}

/// Returns true if a round has more than one winner.
async fn has_two_winners(race: Race, edits: &'static [Edit], rounds: usize) -> bool {
    let replicas = EditedReplicas::new(edits).await;
    for round in 0..rounds {
        let winners = match race {
            Race::Order => replicas.winners(|_| accept(parcel(&format!("order-{round}")))).await,
            Race::RequestId => {
                let key = format!("key-{round}");
                replicas.winners(|n| accept(parcel(&format!("order-{round}-{n}"))).key(&key)).await
            }
            Race::Issue => {
                let id = format!("order-{round}");
                run(&*replicas.stores[0], &[accept(parcel(&id))]).await.unwrap();
                replicas.winners(|_| issue(&[&id], BatchMode::Atomic)).await
            }
        };
        if winners > 1 {
            assert!(
                replicas.edited.load(Ordering::Relaxed) > 0,
                "{race:?}: two winners, but no statement was edited"
            );
            return true;
        }
    }
    let is_edited = replicas.edited.load(Ordering::Relaxed) > 0;
    assert_eq!(is_edited, !edits.is_empty(), "{race:?}: no statement contains the text");
    false
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_commands_win_without_a_guard() {
    for (race, edits) in [
        (Race::Order, &[NO_ORDER_GUARD][..]),
        (Race::RequestId, &[NO_RECORD_GUARD]),
        (Race::Issue, &[NO_LOCK, NO_VERSION_GUARD]),
    ] {
        assert!(has_two_winners(race, edits, MAX_ROUNDS).await, "{race:?}: one winner with {edits:?}");
    }
}

/// Row lock and version check are redundant: either is sufficient.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_command_wins_with_a_guard() {
    for (race, edits) in [
        (Race::Order, &[][..]),
        (Race::RequestId, &[]),
        (Race::Issue, &[]),
        (Race::Issue, &[NO_LOCK]),
        (Race::Issue, &[NO_VERSION_GUARD]),
    ] {
        assert!(!has_two_winners(race, edits, GUARDED_ROUNDS).await, "{race:?}: two winners with {edits:?}");
    }
}
