//! The admin server: liveness and readiness for orchestrators, metrics for
//! monitoring.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract;
use axum::response::IntoResponse as _;
use axum::routing::get;
use http::header::CONTENT_TYPE;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::Service as _;

use crate::adapters::connections::{ConnectionOptions, Connections, Endpoint, check_host};
use crate::app::{NotReady, Ready, Warning};

const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The most connections at once, beside those of gRPC and REST.
const MAX_CONNECTIONS: usize = 64;

/// Renders all metrics in the Prometheus text format.
pub type Render = Arc<dyn Fn() -> String + Send + Sync>;

/// The state that `/readyz` reports.
#[derive(Debug, Clone)]
pub struct State {
    /// Readiness.
    pub ready: Ready,
    /// Conditions of a service that is ready.
    pub warnings: Vec<Warning>,
}

/// Serves `/livez`, `/readyz` and `/metrics` until `stop` is cancelled. It keeps
/// serving during the drain, so that orchestrators see the change of readiness.
pub async fn serve(
    listener: TcpListener,
    state: State,
    metrics: Render,
    options: ConnectionOptions,
    stop: CancellationToken,
) {
    let metrics = move || std::future::ready(([(CONTENT_TYPE, TEXT_FORMAT)], metrics()));
    let routes = Router::new()
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(state);
    // An idle connection must not delay the shutdown.
    let options = ConnectionOptions { max_connections: MAX_CONNECTIONS, grace: Duration::ZERO, ..options };
    let connections = Connections::new(listener, options, stop);
    let builder = connections.builder().http1_only();
    let answer = move |request: Request<Incoming>| {
        let named = check_host(&request);
        let answered = routes.clone().call(request.map(Body::new));
        async move {
            if let Err(sentence) = named {
                return (StatusCode::BAD_REQUEST, format!("{sentence}\n")).into_response();
            }
            match answered.await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        }
    };
    let refuse =
        |_: &Request<Incoming>| (StatusCode::SERVICE_UNAVAILABLE, "too many connections\n").into_response();
    connections.serve(builder, Endpoint { answer, refuse, wrap: |stream| stream }).await;
}

/// Names the failed check and its cause, because the admin port is for operators. A warning does
/// not change the status, because a restart would not help.
async fn readyz(extract::State(state): extract::State<State>) -> (StatusCode, String) {
    match &*state.ready.borrow() {
        Ok(()) => {
            let mut text = "ready\n".to_owned();
            for warning in state.warnings.iter().filter_map(|warning| warning.borrow().clone()) {
                text.push_str(&warning);
                text.push('\n');
            }
            (StatusCode::OK, text)
        }
        Err(NotReady { check, cause }) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("not ready\n{check}: {cause}\n"))
        }
    }
}
