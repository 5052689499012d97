//! Pages for people: the front page, what each reason means, Swagger UI.

use axum::Router;
use axum::extract::Path;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::reasons::{explain, page, slug};
use super::{call, openapi, refuse, swagger_ui};
use crate::adapters::status::status_codes;
use crate::domain::Reason;

/// Where the document is.
pub const OPENAPI: &str = "/openapi.json";

const SWAGGER: &str = "/swagger-ui/";

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:3rem auto;padding:0 1rem;color:#222}\
code{background:#f2f2f2;padding:.1em .3em;border-radius:3px}dt{font-weight:600;margin-top:.7em}dd{margin:0}";

/// The routes of the pages.
pub fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/", page_of(get(async || html(&front()))))
        .route("/problems", page_of(get(async || html(&problems()))))
        .route("/problems/{slug}", page_of(get(problem)))
        .route(OPENAPI, page_of(get(document)))
        .route("/swagger-ui", page_of(get(async || Redirect::permanent(SWAGGER))))
        .route(SWAGGER, page_of(get(async |headers: HeaderMap| swagger("", &headers))))
        .route(
            "/swagger-ui/{*path}",
            page_of(get(async |Path(path): Path<String>, headers: HeaderMap| swagger(&path, &headers))),
        )
}

/// A page is read and nothing else.
fn page_of<S: Clone + Send + Sync + 'static>(
    route: axum::routing::MethodRouter<S>,
) -> axum::routing::MethodRouter<S> {
    super::router::with_options_and_405(route, "GET, HEAD, OPTIONS")
}

async fn document(headers: HeaderMap) -> Response {
    let document = openapi::document();
    let mut response = StatusCode::NOT_MODIFIED.into_response();
    if !call::matches(&headers, &document.etag) {
        response = document.text.clone().into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    response.headers_mut().insert(ETAG, document.etag.clone());
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

fn swagger(path: &str, headers: &HeaderMap) -> Response {
    let Some((media_type, content)) = swagger_ui::file(path) else {
        return refuse::unknown_route(headers, &format!("{SWAGGER}{path}"));
    };
    let mut response = content.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:",
        ),
    );
    response
}

async fn problem(Path(asked): Path<String>, headers: HeaderMap) -> Response {
    match Reason::ALL.iter().find(|reason| slug(**reason) == asked) {
        Some(reason) => html(&explanation(*reason)),
        None => refuse::unknown_route(&headers, &format!("/problems/{asked}")),
    }
}

fn html(body: &str) -> Response {
    let text = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>pvz</title>\n<style>{STYLE}</style>\n{body}"
    );
    let mut response = text.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'"),
    );
    response
}

fn front() -> String {
    format!(
        "<h1>pvz</h1>\n<p>Order management for pick-up points, version {}.</p>\n<ul>\n\
         <li><a href=\"{SWAGGER}\">Swagger UI</a>: read about the API and try it out\n\
         <li><a href=\"{OPENAPI}\">{OPENAPI}</a>: the OpenAPI 3.1 document, to generate clients from\n\
         <li><a href=\"/problems\">/problems</a>: why requests are refused, and what to do\n</ul>\n",
        env!("CARGO_PKG_VERSION")
    )
}

fn problems() -> String {
    let item = |reason: &Reason| {
        let (address, name, title) = (page(*reason), reason.name(), explain(*reason).title);
        format!("<li><a href=\"{address}\"><code>{name}</code></a>: {title}\n")
    };
    let items = Reason::ALL.iter().map(item).collect::<Vec<_>>().concat();
    format!("<h1>Why requests are refused</h1>\n<ul>\n{items}</ul>\n")
}

fn explanation(reason: Reason) -> String {
    let text = explain(reason);
    let codes = status_codes(reason);
    format!(
        "<h1>{}</h1>\n<p><code>{}</code></p>\n<dl>\n<dt>What it means<dd>{}\n<dt>What to do<dd>{}\n\
         <dt>HTTP<dd>{}\n<dt>gRPC<dd>{:?}\n<dt>Exit code of the CLI<dd>{}\n</dl>\n<p><a href=\"/problems\">All reasons</a></p>\n",
        text.title,
        reason.name(),
        text.meaning,
        text.remedy,
        codes.http,
        codes.grpc,
        codes.exit
    )
}
