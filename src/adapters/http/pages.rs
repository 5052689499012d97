//! Pages for people: the index, the explanation of each reason, and Swagger UI.

use std::sync::Arc;

use axum::extract::Path;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use axum::{Extension, Router};
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};

use super::openapi::Document;
use super::problem::ProblemContext;
use super::reasons::{explain, page, slug};
use super::{refuse, swagger_ui};
use crate::adapters::status::status_codes;
use crate::domain::Reason;

type Context = Extension<ProblemContext>;

/// The path of the OpenAPI document.
const OPENAPI: &str = "/openapi.json";

const SWAGGER: &str = "/swagger-ui/";

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:3rem auto;padding:0 1rem;color:#222}\
code{background:#f2f2f2;padding:.1em .3em;border-radius:3px}dt{font-weight:600;margin-top:.7em}dd{margin:0}";

/// Returns the routes of the pages.
pub fn routes<S: Clone + Send + Sync + 'static>(public_url: &str) -> Router<S> {
    let document = Arc::new(Document::new(public_url));
    Router::new()
        .route("/", read_only(get(async || html(&index()))))
        .route("/problems", read_only(get(async || html(&problems()))))
        .route("/problems/{slug}", read_only(get(problem)))
        .route(OPENAPI, read_only(get(async move |headers: HeaderMap| document.answer(&headers))))
        .route("/swagger-ui", read_only(get(async || Redirect::permanent("swagger-ui/"))))
        .route(SWAGGER, read_only(get(async |context: Context| swagger("", &context))))
        .route(
            "/swagger-ui/{*path}",
            read_only(get(async |Path(path): Path<String>, context: Context| swagger(&path, &context))),
        )
}

/// Allows a page to be read only.
fn read_only<S: Clone + Send + Sync + 'static>(
    route: axum::routing::MethodRouter<S>,
) -> axum::routing::MethodRouter<S> {
    refuse::other_methods(route, "GET, HEAD, OPTIONS")
}

fn swagger(path: &str, request: &Context) -> Response {
    let Some((media_type, content)) = swagger_ui::file(path) else {
        return refuse::unknown_route(request, &format!("{SWAGGER}{path}"));
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

async fn problem(Path(name): Path<String>, context: Context) -> Response {
    match Reason::ALL.iter().find(|reason| slug(**reason) == name) {
        Some(reason) => html(&explanation(*reason)),
        None => refuse::unknown_route(&context, &format!("/problems/{name}")),
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

fn index() -> String {
    format!(
        "<h1>pvz</h1>\n<p>Order management for pickup points, version {}.</p>\n<ul>\n\
         <li><a href=\"{SWAGGER}\">Swagger UI</a>: explore and try the API\n\
         <li><a href=\"{OPENAPI}\">{OPENAPI}</a>: the OpenAPI 3.1 document, for generating clients\n\
         <li><a href=\"/problems\">/problems</a>: the reasons for refused requests, and what to do\n</ul>\n",
        env!("CARGO_PKG_VERSION")
    )
}

fn problems() -> String {
    let item = |reason: &Reason| {
        let (address, name, title) = (page(*reason), reason.name(), explain(*reason).title);
        format!("<li><a href=\"{address}\"><code>{name}</code></a>: {title}\n")
    };
    let items = Reason::ALL.iter().map(item).collect::<Vec<_>>().concat();
    format!("<h1>Reasons for refused requests</h1>\n<ul>\n{items}</ul>\n")
}

fn explanation(reason: Reason) -> String {
    let text = explain(reason);
    let codes = status_codes(reason);
    format!(
        "<h1>{}</h1>\n<p><code>{}</code></p>\n<dl>\n<dt>Meaning<dd>{}\n<dt>What to do<dd>{}\n\
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
