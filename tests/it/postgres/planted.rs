//! Whether the tests of races can fail: the same races, with the protocol
//! broken on its way to the database. The statements' texts are edited on the
//! wire, so that no build has the bugs in it.

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

/// A piece of a statement, and what takes its place.
type Edit = (&'static str, &'static str);

/// How often a race is run before it counts as never lost. Where a guard is
/// missing the first few are.
const ROUNDS: usize = 200;
/// The same where none is, and all of them have to be run.
const SOUND_ROUNDS: usize = 40;
/// How many batches race.
const RACERS: usize = 12;

const NO_ORDER_GUARD: Edit = ("(SELECT count(*) FROM new_orders) = cardinality($1)", "true");
const NO_RECORD_GUARD: Edit = ("(SELECT count(*) FROM new_records) = cardinality($16)", "true");
const NO_VERSION_GUARD: Edit = ("orders.version = change.loaded_version", "true");
const NO_LOCK: Edit = ("FOR UPDATE", "");

/// Passes everything on, edited. Messages keep their length: what is shorter is
/// filled with spaces.
async fn pass(client: TcpStream, server: u16, edits: &[Edit], edited: &AtomicUsize) -> std::io::Result<()> {
    let server = TcpStream::connect(("127.0.0.1", server)).await?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let answers = tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
    let mut bytes = vec![0; 1 << 16];
    while let length @ 1.. = from_client.read(&mut bytes).await? {
        for (text, instead) in edits {
            while let Some(at) = bytes[..length].windows(text.len()).position(|part| part == text.as_bytes())
            {
                let filled = format!("{instead:width$}", width = text.len());
                bytes[at..at + text.len()].copy_from_slice(filled.as_bytes());
                edited.fetch_add(1, Ordering::Relaxed);
            }
        }
        to_server.write_all(&bytes[..length]).await?;
    }
    answers.abort();
    Ok(())
}

/// Two replicas whose statements are edited.
struct Scene {
    stores: [Arc<PostgresStore>; 2],
    edited: Arc<AtomicUsize>,
    _database: Database,
}

impl Scene {
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
                tokio::spawn(async move { pass(client, server, edits, &count).await });
            }
        });
        let mut options = database.options();
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(port).user("pvz").dbname(&database.name);
        options.server.config = config;
        let open = || async { Arc::new(PostgresStore::open(&options).await.unwrap()) };
        Self { stores: [open().await, open().await], edited, _database: database }
    }

    /// How many of these, run at once, succeed as if they were the first.
    async fn winners(&self, asks: impl Fn(usize) -> TestCommand) -> usize {
        let mut racing = JoinSet::new();
        for number in 0..RACERS {
            let (store, ask) = (Arc::clone(&self.stores[number % 2]), asks(number));
            racing.spawn(async move { run(&*store, &[ask]).await });
        }
        let won = |outcome: &Outcome| outcome.answer.is_ok() && !outcome.replayed;
        racing.join_all().await.into_iter().flatten().flatten().filter(won).count()
    }
}

/// What many want at once and only one may have.
#[derive(Debug, Clone, Copy)]
enum Race {
    Order,
    Key,
    Issue,
}

/// Whether two ever had it.
async fn two_win(race: Race, edits: &'static [Edit], rounds: usize) -> bool {
    let scene = Scene::new(edits).await;
    for round in 0..rounds {
        let winners = match race {
            Race::Order => scene.winners(|_| accept(parcel(&format!("order-{round}")))).await,
            Race::Key => {
                let key = format!("key-{round}");
                scene.winners(|n| accept(parcel(&format!("order-{round}-{n}"))).key(&key)).await
            }
            Race::Issue => {
                let id = format!("order-{round}");
                run(&*scene.stores[0], &[accept(parcel(&id))]).await.unwrap();
                scene.winners(|_| issue(&[&id], BatchMode::Atomic)).await
            }
        };
        if winners > 1 {
            assert!(scene.edited.load(Ordering::Relaxed) > 0, "{race:?}: without an edit");
            return true;
        }
    }
    assert_eq!(scene.edited.load(Ordering::Relaxed) > 0, !edits.is_empty(), "{race:?}: no such text");
    false
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_guard_that_is_taken_out_is_missed() {
    for (race, edits) in [
        (Race::Order, &[NO_ORDER_GUARD][..]),
        (Race::Key, &[NO_RECORD_GUARD]),
        (Race::Issue, &[NO_LOCK, NO_VERSION_GUARD]),
    ] {
        assert!(two_win(race, edits, ROUNDS).await, "{race:?} is not lost without {edits:?}");
    }
}

/// The lock and the version guard each other's back: one of them is enough.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_all_guards_one_wins() {
    for (race, edits) in [
        (Race::Order, &[][..]),
        (Race::Key, &[]),
        (Race::Issue, &[]),
        (Race::Issue, &[NO_LOCK]),
        (Race::Issue, &[NO_VERSION_GUARD]),
    ] {
        assert!(!two_win(race, edits, SOUND_ROUNDS).await, "{race:?} with {edits:?}");
    }
}
