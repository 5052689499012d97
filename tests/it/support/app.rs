//! The whole service in the test process, built by the composition root, with a
//! clock that the test sets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pvz::app::verify;
use pvz::compose::{self, Addresses, Environment, Store};
use pvz::config::{Config, Sources};
use pvz::lifecycle::{Exit, Lifecycle};
use pvz::proto::v1::GetOutboxRequest;
use pvz::proto::v1::order_service_client::OrderServiceClient;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tonic::transport::Channel;

use super::time::{SequentialIds, TestClock};

/// Timeout for the relay to publish the events of a test, long enough for a slow
/// machine.
const PUBLISH_TIMEOUT: Duration = Duration::from_mins(1);

/// A running service on free ports, with its data in a temporary directory.
///
/// Dropping it shuts the service down and fails the test if work is left behind:
/// an event that was not published, a task that failed or did not end in the
/// drain, or an order that differs from its events.
pub struct TestApp {
    pub clock: Arc<TestClock>,
    addresses: Addresses,
    config: Config,
    publish_timeout: Duration,
    // An `Option` so that `drop` can move it to another thread: a runtime cannot
    // be shut down from within another one.
    running: Option<Running>,
}

struct Running {
    runtime: Runtime,
    life: Lifecycle,
    folder: TempDir,
}

impl TestApp {
    /// Starts the service with a SQLite store and a journal.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts the service with additional flags, such as `("--store", "memory:")`.
    pub fn start_with(flags: &[(&'static str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let mut sources = Sources { data_dir: Some(folder.path().to_owned()), ..Sources::default() };
        for flag in ["--grpc-addr", "--http-addr", "--admin-addr"] {
            sources.flags.push((flag, "127.0.0.1:0".to_owned()));
        }
        sources.flags.extend(flags.iter().map(|(flag, value)| (*flag, (*value).to_owned())));
        let (config, _) = Config::load(&sources).unwrap_or_else(|errors| panic!("{errors}"));
        let clock = Arc::new(TestClock::default());
        let environment = Environment { clock: clock.clone(), ids: Arc::new(SequentialIds::default()) };
        let (runtime, life) = (Runtime::new().expect("a runtime"), Lifecycle::new());
        let started = runtime.block_on(compose::start(&config, environment, &life));
        let addresses = started.unwrap_or_else(|error| panic!("the service did not start: {error:?}"));
        Self {
            clock,
            addresses,
            config,
            publish_timeout: PUBLISH_TIMEOUT,
            running: Some(Running { runtime, life, folder }),
        }
    }

    /// Sets how long `drop` waits for events to be published.
    pub fn with_publish_timeout(self, publish_timeout: Duration) -> Self {
        let mut app = self;
        app.publish_timeout = publish_timeout;
        app
    }

    /// Returns the listening address of REST.
    pub fn http(&self) -> SocketAddr {
        self.addresses.http
    }

    /// Runs a future on the service's runtime.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.running().runtime.block_on(future)
    }

    /// Returns a gRPC client of the service.
    pub fn client(&self) -> OrderServiceClient<Channel> {
        self.block_on(OrderServiceClient::connect(self.grpc_url())).expect("the service listens")
    }

    fn grpc_url(&self) -> String {
        format!("http://{}", self.addresses.grpc)
    }

    /// Spawns a task of the service that the shutdown waits for.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let running = self.running();
        let _runtime = running.runtime.enter();
        running.life.spawn_until_done(name, task);
    }

    /// Waits until every event is published.
    fn wait_until_published(&self) -> Result<(), String> {
        let (address, end) = (self.grpc_url(), Instant::now() + self.publish_timeout);
        self.block_on(async {
            let connected = OrderServiceClient::connect(address).await;
            let mut client = connected.map_err(|error| format!("cannot connect to gRPC: {error}"))?;
            loop {
                let response = client.get_outbox(GetOutboxRequest {}).await;
                let outbox = response.map_err(|status| format!("GetOutbox failed: {status}"))?.into_inner();
                if outbox.sink.is_empty() || outbox.lag_events == 0 {
                    return if outbox.dead_letters == 0 {
                        Ok(())
                    } else {
                        Err(format!("{} orders are blocked by a dead letter", outbox.dead_letters))
                    };
                }
                if Instant::now() > end {
                    return Err(format!("{} events were not published", outbox.lag_events));
                }
                // GetOutbox has no notification to wait for.
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("only drop takes it")
    }

    /// Stops the service and returns what the test left behind.
    fn shut_down(&mut self) -> Vec<String> {
        let mut problems: Vec<String> = self.wait_until_published().err().into_iter().collect();
        let Running { runtime, life, folder } = self.running.take().expect("only drop takes it");
        life.drain();
        let exit = runtime.block_on(life.run(futures::stream::pending(), self.config.server.drain_deadline));
        if exit != Exit::Finished {
            problems.push("a task failed or did not end in the drain".to_owned());
        }
        let differences = runtime.block_on(differences(&self.config));
        if differences > 0 {
            problems.push(format!("{differences} orders differ from their events"));
        }
        drop(runtime);
        drop(folder);
        problems
    }
}

/// Returns the number of orders that differ from their events. A memory store does
/// not outlive its service.
async fn differences(config: &Config) -> usize {
    let store = Store::open_read_only(config).await.expect("the store opens");
    verify(&*store.orders, |_| {}).await.expect("the store can be read").differences.len()
}

impl Drop for TestApp {
    fn drop(&mut self) {
        // A test may hold the app inside an async runtime, which must not block.
        let stopped = std::thread::scope(|scope| scope.spawn(|| self.shut_down()).join());
        let problems = stopped.unwrap_or_else(|_| vec!["the shutdown panicked".to_owned()]);
        // A second panic would abort the test run and hide the first.
        let failed_before = std::thread::panicking();
        assert!(failed_before || problems.is_empty(), "work left behind: {}", problems.join("; "));
    }
}
