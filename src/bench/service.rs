//! A run of a scenario against one server.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::baseline::{self, Baseline};
use super::connection::Connection;
use super::error::BenchError;
use super::import::ImportLoad;
use super::load::UnaryLoad;
use super::measured::Measured;
use super::plan::{Pace, Plan, Scenario, ServerPlan, Target};
use super::processes::{ProcessCost, ServerProcess, TempFolder};
use super::progress::note;
use super::report::ServiceReport;
use super::unary_client::UnaryClient;
use super::work::Work;
use crate::config::{Config, Sources};

/// Runs the plan, on a running server or one that it starts. Prints its
/// progress on standard error.
///
/// # Errors
/// The server cannot be started or reached, has orders already, or refuses an
/// order that the scenario needs; or the run was interrupted before the
/// measurement began.
pub async fn measure_service(plan: &Plan) -> Result<ServiceReport, BenchError> {
    let work = Arc::new(Work::new(plan.scenario, plan.batch));
    let ServerPlan::Embedded(store) = &plan.server else {
        return measure(plan, work, plan.target.clone(), None).await;
    };
    let folder = TempFolder::new(work.run_id())?;
    let temporary = format!("sqlite:{}", folder.path().join("pvz.db").display());
    let store = store.as_deref().unwrap_or(&temporary);
    let server = ServerProcess::start(folder.path(), store, "none:").await?;
    let target = Target { server: server.address().to_owned(), ..plan.target.clone() };
    let report = measure(plan, work, target, Some(&server)).await;
    server.stop().await;
    report
}

async fn measure(
    plan: &Plan,
    work: Arc<Work>,
    target: Target,
    embedded: Option<&ServerProcess>,
) -> Result<ServiceReport, BenchError> {
    let connection = Connection::open(target.clone()).await?;
    connection.require_empty(plan.force).await?;
    note(format_args!("writing to {}: orders {}*", target.server, work.prefix()));
    let stop = stop_on_ctrl_c();
    let orders = if plan.scenario.needs_orders() { plan.orders } else { 0 };
    if !work.prepare(&connection, orders, &stop).await? {
        return Err(BenchError::Failed("interrupted before the measurement began".to_owned()));
    }
    let cost_before = embedded.and_then(ServerProcess::cost);
    let measured = run_load(plan, work, &target, stop).await?;
    let cost = embedded.and_then(ServerProcess::cost).zip(cost_before).map(|(after, before)| ProcessCost {
        cpu: after.cpu.saturating_sub(before.cpu),
        peak_rss: after.peak_rss,
    });
    let baseline = match &plan.baseline {
        Some(store) => Some(measure_baseline(&plan.sources, store, plan.duration).await?),
        None => None,
    };
    Ok(ServiceReport::new(plan, &measured, cost, baseline))
}

async fn run_load(
    plan: &Plan,
    work: Arc<Work>,
    target: &Target,
    stop: CancellationToken,
) -> Result<Measured, BenchError> {
    if plan.scenario == Scenario::Import {
        let mut connections = Vec::new();
        for _ in 0..plan.connections {
            connections.push(Connection::open(target.clone()).await?);
        }
        let window = match plan.pace {
            Pace::InFlight(window) => window,
            Pace::Rate(_) => 1,
        };
        let (warm_up, duration) = (plan.warm_up, plan.duration);
        let load = ImportLoad { work, connections, window, warm_up, duration, stop };
        return Ok(load.run().await);
    }
    let clients = connect_clients(target, plan.connections).await?;
    let (pace, warm_up, duration) = (plan.pace, plan.warm_up, plan.duration);
    Ok(UnaryLoad { work, clients, pace, warm_up, duration, stop }.run().await)
}

/// Opens `count` connections for unary calls.
pub(super) async fn connect_clients(target: &Target, count: usize) -> Result<Vec<UnaryClient>, BenchError> {
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.push(UnaryClient::connect(target).await?);
    }
    Ok(clients)
}

async fn measure_baseline(
    sources: &Sources,
    store: &str,
    duration: Duration,
) -> Result<Baseline, BenchError> {
    note("measuring the baselines");
    let config = load_config(sources, "--store", store)?;
    baseline::measure(&config, duration).await
}

/// Loads the configuration with one more flag.
pub(super) fn load_config(sources: &Sources, flag: &'static str, value: &str) -> Result<Config, BenchError> {
    let mut sources = sources.clone();
    sources.flags.push((flag, value.to_owned()));
    match Config::load(&sources) {
        Ok((config, _)) => Ok(config),
        Err(errors) => Err(BenchError::Failed(errors.to_string())),
    }
}

/// Returns a token that Ctrl-C cancels.
pub(super) fn stop_on_ctrl_c() -> CancellationToken {
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            stopped.cancel();
        }
    });
    stop
}
