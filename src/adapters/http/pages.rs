//! Pages for people: the index, the documents, the reasons, and Swagger UI. Their
//! links are relative, because a proxy may serve them below a path.

use std::sync::Arc;

use axum::extract::Path;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use axum::{Extension, Router};
use http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::openapi::Document;
use super::problem::ProblemContext;
use super::reasons::{explain, slug};
use super::{documents, problem_pages, refuse, swagger_ui};
use crate::domain::Reason;
use crate::ports::Clock;

type Context = Extension<ProblemContext>;

const SWAGGER: &str = "/swagger-ui/";

/// The Postman collection that `build/postman.rs` generates.
const COLLECTION: &str = include_str!(concat!(env!("OUT_DIR"), "/postman.json"));

const STYLE: &str = include_str!("pages.css");

const ICON: &[u8] = include_bytes!("favicon.ico");

/// The licences, of which a user may choose one.
const LICENSES: &str =
    concat!(include_str!("../../../LICENSE-MIT"), "\n\n", include_str!("../../../LICENSE-APACHE"));

/// Returns the routes of the pages.
pub fn routes<S: Clone + Send + Sync + 'static>(public_url: &str, clock: Arc<dyn Clock>) -> Router<S> {
    let document = Arc::new(Document::new(public_url, clock));
    Router::new()
        .route("/", read_only(get(async || page("pvz", "./", &index()))))
        .route("/favicon.ico", read_only(get(async || ([(CONTENT_TYPE, "image/x-icon")], ICON))))
        .route("/docs", read_only(get(async || Redirect::permanent("docs/"))))
        .route("/docs/", read_only(get(async || page("Documents", "../", &document_list()))))
        .route("/docs/{name}", read_only(get(document_page)))
        .route("/problems", read_only(get(async || Redirect::permanent("problems/"))))
        .route(
            "/problems/",
            read_only(get(async || page("Reasons for refused requests", "../", &problem_pages::list()))),
        )
        .route("/problems/{slug}", read_only(get(problem)))
        .route("/postman.json", read_only(get(collection)))
        .route("/openapi.json", read_only(get(async move |headers: HeaderMap| document.answer(&headers))))
        .route("/license", read_only(get(async || LICENSES)))
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
        Some(reason) => {
            page(explain(*reason).title, "../", &problem_pages::explanation(*reason, &context.public_url))
        }
        None => refuse::unknown_route(&context, &format!("/problems/{name}")),
    }
}

async fn document_page(Path(name): Path<String>, context: Context) -> Response {
    match documents::all().iter().find(|document| document.name == name) {
        Some(document) => page(document.title, "../", &PreEscaped(document.html.to_owned())),
        None => refuse::unknown_route(&context, &format!("/docs/{name}")),
    }
}

/// Answers with the Postman collection. Without a public URL, it names the address that
/// the request was sent to.
async fn collection(context: Context, headers: HeaderMap) -> Response {
    let host = headers.get(HOST).and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let base = match host {
        Some(host) if context.public_url.is_empty() => format!("http://{host}"),
        _ => context.public_url.to_string(),
    };
    let headers = [
        (CONTENT_TYPE, "application/json"),
        (CONTENT_DISPOSITION, "attachment; filename=\"pvz.postman_collection.json\""),
        (CACHE_CONTROL, "no-cache"),
    ];
    (headers, COLLECTION.replacen("x-base-url", &base, 1)).into_response()
}

/// Returns a page. `root` is the relative address of the index.
fn page(title: &str, root: &str, content: &Markup) -> Response {
    let text = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) @if title != "pvz" { " · pvz" } }
                link rel="icon" href={ (root) "favicon.ico" };
                style { (PreEscaped(STYLE)) }
            }
            body {
                @if root != "./" {
                    nav {
                        a href=(root) { "pvz" }
                        a href={ (root) "docs/" } { "Documents" }
                        a href={ (root) "problems/" } { "Reasons" }
                        a href={ (root) "swagger-ui/" } { "Swagger UI" }
                    }
                }
                main { (content) }
            }
        }
    };
    let mut response = text.into_string().into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; img-src 'self'"),
    );
    response
}

fn index() -> Markup {
    html! {
        h1 { "pvz" }
        p { "Order management for pickup points, version " (env!("CARGO_PKG_VERSION")) "." }
        h2 { "Try it" }
        ul {
            li { a href="swagger-ui/" { "Swagger UI" } ": all methods, to try in the browser" }
            li { a href="openapi.json" { "openapi.json" } ": the OpenAPI 3.1 document, for generating clients" }
            li { a href="postman.json" { "postman.json" } ": a collection for Postman, Bruno and Insomnia" }
        }
        h2 { "Guides" }
        ul { @for guide in documents::all().iter().filter(|document| document.is_guide) { (entry("docs/", guide)) } }
        h2 { "Reference" }
        ul {
            li { a href="problems/" { "Reasons" } " for refused requests, and what to do" }
            li { a href="docs/" { "Documents" } ": the rules, the interfaces, the guarantees, operation" }
        }
    }
}

fn document_list() -> Markup {
    let (guides, references): (Vec<_>, Vec<_>) =
        documents::all().iter().partition(|document| document.is_guide);
    html! {
        h1 { "Documents" }
        h2 { "Guides" }
        ul { @for document in guides { (entry("", document)) } }
        h2 { "Reference" }
        ul { @for document in references { (entry("", document)) } }
    }
}

fn entry(folder: &str, document: &documents::Document) -> Markup {
    html! { li { a href={ (folder) (document.name) } { (document.title) } } }
}
