//! The admin face: liveness and readiness for an orchestrator, figures for
//! monitoring.

use std::future::IntoFuture as _;
use std::io;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::app::Ready;

const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Writes all metrics in Prometheus's text format.
pub type Render = Arc<dyn Fn() -> String + Send + Sync>;

/// Serves `/livez`, `/readyz` and `/metrics` until `stop` is cancelled. It
/// outlives the drain, so that an orchestrator can watch readiness fall.
///
/// # Errors
/// The listener failed.
pub async fn serve(
    listener: TcpListener,
    ready: Ready,
    metrics: Render,
    stop: CancellationToken,
) -> io::Result<()> {
    let metrics = move || std::future::ready(([(CONTENT_TYPE, TEXT_FORMAT)], metrics()));
    let routes = Router::new()
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(ready);
    // Not awaited to the end: an idle connection must not hold up the process.
    tokio::select! {
        served = axum::serve(listener, routes).into_future() => served,
        () = stop.cancelled() => Ok(()),
    }
}

async fn readyz(State(ready): State<Ready>) -> (StatusCode, &'static str) {
    if *ready.borrow() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}
