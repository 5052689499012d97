//! The admin server: liveness and readiness for orchestrators, metrics for
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

use crate::app::{NotReady, Ready};

const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Renders all metrics in the Prometheus text format.
pub type Render = Arc<dyn Fn() -> String + Send + Sync>;

/// Serves `/livez`, `/readyz` and `/metrics` until `stop` is cancelled. It keeps
/// serving during the drain, so that orchestrators see the change of readiness.
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
    // Connections are not drained: an idle one must not delay the shutdown.
    tokio::select! {
        served = axum::serve(listener, routes).into_future() => served,
        () = stop.cancelled() => Ok(()),
    }
}

/// Names the failed check and its cause: the admin port is for operators.
async fn readyz(State(ready): State<Ready>) -> (StatusCode, String) {
    match &*ready.borrow() {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(NotReady { check, cause }) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("not ready\n{check}: {cause}\n"))
        }
    }
}
