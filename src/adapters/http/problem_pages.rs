//! The pages at `/problems/`: the list of reasons, and the explanation of each.

use std::sync::Arc;

use maud::{Markup, html};

use super::methods::{self, Method};
use super::problem_examples::{example, meaning, metadata_keys};
use super::reasons::{explain, slug};
use crate::adapters::status::status_codes;
use crate::domain::Reason;

/// Returns the list of all reasons.
pub fn list() -> Markup {
    html! {
        h1 { "Reasons for refused requests" }
        p {
            "An answer that is not a success is a problem (RFC 9457) with one of these reasons. The status is that \
             of HTTP. Read "
            a href="../docs/errors" { "the guide to errors" }
            " on which of them to repeat."
        }
        table {
            thead { tr { th { "status" } th { "reason" } th { "title" } } }
            tbody {
                @for reason in Reason::ALL {
                    tr {
                        td { (status_codes(*reason).http.as_u16()) }
                        td { a href=(slug(*reason)) { code { (reason.name()) } } }
                        td { (explain(*reason).title) }
                    }
                }
            }
        }
    }
}

/// Returns the explanation of a reason.
pub fn explanation(reason: Reason, public_url: &Arc<str>) -> Markup {
    let text = explain(reason);
    let codes = status_codes(reason);
    html! {
        h1 { (text.title) }
        p { code { (reason.name()) } }
        dl {
            dt { "Meaning" }
            dd { (text.meaning) }
            dt { "What to do" }
            dd { (text.remedy) }
            dt { "HTTP" }
            dd { (codes.http) }
            dt { "gRPC" }
            dd { (format!("{:?}", codes.grpc)) }
            dt { "Exit code of the CLI" }
            dd { (codes.exit) }
        }
        (example_of(reason, public_url))
        (metadata(reason))
        (methods(reason))
    }
}

fn example_of(reason: Reason, public_url: &Arc<str>) -> Markup {
    let Some(problem) = example(reason, public_url) else {
        return html! {
            h2 { "Example" }
            p { "A proxy in front of the service makes this answer, so its body is that of the proxy." }
        };
    };
    let body = serde_json::to_string_pretty(&problem).unwrap_or_default();
    html! {
        h2 { "Example" }
        pre {
            code {
                "HTTP/1.1 " (status_codes(reason).http) "\n"
                "content-type: application/problem+json\n"
                @if let Some(seconds) = problem.retry_after_seconds() {
                    "retry-after: " (seconds) "\n"
                }
                "\n" (body)
            }
        }
    }
}

fn metadata(reason: Reason) -> Markup {
    let keys = metadata_keys(reason);
    html! {
        h2 { "Metadata" }
        @if keys.is_empty() {
            p { "None." }
        } @else {
            p { "Each value is a string. A key is present if the sentence in " code { "detail" } " mentions its value." }
            table {
                thead { tr { th { "key" } th { "meaning" } } }
                tbody {
                    @for key in keys {
                        tr { td { code { (key) } } td { (meaning(key)) } }
                    }
                }
            }
        }
    }
}

fn methods(reason: Reason) -> Markup {
    let all = methods::all();
    let some: Vec<&Method> =
        all.iter().filter(|method| method.reasons.iter().any(|name| name == reason.name())).collect();
    html! {
        h2 { "Methods" }
        @if some.is_empty() {
            p { "No method of the service gives this reason. HTTP gives it before a method is called." }
        } @else if some.len() == all.len() {
            p { "Every method." }
        } @else {
            ul {
                @for method in some {
                    li {
                        a href={ "../swagger-ui/#" (method.fragment) } {
                            code { (method.verb) " " (method.path) }
                        }
                    }
                }
            }
        }
    }
}
