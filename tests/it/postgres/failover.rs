//! T26: failover to a synchronous standby under load: nothing acknowledged is missing.
//!
//! `PVZ_TEST_FAILOVER_ROUNDS` sets the number of rounds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use pvz::adapters::postgres::{PostgresOptions, PostgresStore, migrate};
use pvz::ports::OrderStore as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_postgres::Client;

use super::cluster::Cluster;
use super::{run, verified_counts};
use crate::faults::test_service::wait_until;
use crate::support::commands::{accept, order, parcel};

const WRITERS: usize = 4;

/// A TCP proxy that can stop passing data on. Bytes that it holds when it is dropped are
/// lost.
struct Link {
    port: u16,
    paused: watch::Sender<bool>,
}

impl Link {
    async fn start(server: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (paused, receiver) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else { return };
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                tokio::spawn(pass_on(from_client, to_server, receiver.clone()));
                tokio::spawn(pass_on(from_server, to_client, receiver.clone()));
            }
        });
        Self { port, paused }
    }

    fn pause(&self) {
        self.paused.send_replace(true);
    }
}

async fn pass_on(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut paused: watch::Receiver<bool>) {
    let mut bytes = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut bytes).await {
        let passes = paused.wait_for(|paused| !paused).await.is_ok();
        if !passes || to.write_all(&bytes[..length]).await.is_err() {
            return;
        }
    }
}

/// The load: each task accepts orders, and repeats a command until it is answered.
#[derive(Default)]
struct Load {
    stopped: AtomicBool,
    acknowledged: AtomicUsize,
    failed: AtomicUsize,
}

impl Load {
    /// Returns the ids of the acknowledged orders.
    async fn run(self: Arc<Self>, store: Arc<PostgresStore>, writer: usize) -> Vec<String> {
        let mut acknowledged = Vec::new();
        while !self.stopped.load(Ordering::SeqCst) {
            let id = format!("order-{writer}-{}", acknowledged.len());
            match run(&*store, &[accept(parcel(&id)).key(&id)]).await {
                Ok(outcomes) => {
                    assert!(outcomes[0].answer.is_ok(), "{outcomes:?}");
                    acknowledged.push(id);
                    self.acknowledged.fetch_add(1, Ordering::SeqCst);
                }
                Err(_) => _ = self.failed.fetch_add(1, Ordering::SeqCst),
            }
        }
        acknowledged
    }

    /// Waits until this many more calls of the store have returned.
    async fn wait_for_calls(&self, calls: usize) {
        let count = || self.acknowledged.load(Ordering::SeqCst) + self.failed.load(Ordering::SeqCst);
        let end = count() + calls;
        wait_until("calls of the store return", async || count() >= end).await;
    }
}

/// Makes every commit of the primary wait for the standby.
async fn require_standby(shell: &Client) {
    shell.batch_execute("ALTER SYSTEM SET synchronous_standby_names = '*'").await.unwrap();
    shell.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    let is_required = "SELECT FROM pg_stat_replication WHERE sync_state = 'sync' AND state = 'streaming'";
    wait_until("the standby is synchronous", async || {
        shell.query_opt(is_required, &[]).await.unwrap().is_some()
    })
    .await;
}

async fn fail_over() {
    let primary = Cluster::start();
    let database = primary.database(false).await;
    migrate(&database.options()).await.unwrap();
    let link = Link::start(primary.port).await;
    let standby = Cluster::standby_at(link.port);
    let shell = database.shell().await;
    require_standby(&shell).await;
    let options = PostgresOptions { timeout: Duration::from_millis(300), ..database.options() };
    let store = Arc::new(PostgresStore::open(&options).await.unwrap());
    let load = Arc::new(Load::default());
    let mut running = JoinSet::new();
    for writer in 0..WRITERS {
        running.spawn(Arc::clone(&load).run(Arc::clone(&store), writer));
    }
    wait_until("orders are accepted", async || load.acknowledged.load(Ordering::SeqCst) >= 50).await;
    link.pause();
    // The timeouts of the store pass.
    load.wait_for_calls(2 * WRITERS).await;
    // An administrator ends the sessions that wait, which makes their commits visible.
    let end = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity \
         WHERE wait_event = 'SyncRep' AND application_name = 'pvz'";
    for _ in 0..2 {
        shell.execute(end, &[]).await.unwrap();
        load.wait_for_calls(2 * WRITERS).await;
    }
    primary.crash();
    drop(link);
    load.stopped.store(true, Ordering::SeqCst);
    let acknowledged: Vec<String> = running.join_all().await.into_iter().flatten().collect();

    let promoted = standby.shell().await;
    promoted.execute("SELECT pg_promote(true, 60)", &[]).await.unwrap();
    let store = PostgresStore::open(&standby.options(&database.name)).await.unwrap();
    let mut missing = Vec::new();
    for id in &acknowledged {
        if store.order(&order(id)).await.unwrap().is_none() {
            missing.push(id);
        }
    }
    assert!(missing.is_empty(), "acknowledged and missing on the new primary: {missing:?}");
    verified_counts(&store).await;
    run(&store, &[accept(parcel("later"))]).await.unwrap();
    standby.crash();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failover_loses_nothing_acknowledged() {
    let rounds = std::env::var("PVZ_TEST_FAILOVER_ROUNDS").map_or(2, |rounds| rounds.parse().unwrap());
    for _ in 0..rounds {
        Box::pin(fail_over()).await;
    }
}
