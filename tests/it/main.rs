//! The integration tests: one binary, a file per feature.

// With `cfg(test)`, clippy applies its rules for tests to the helpers too.
#[cfg(test)]
mod app;
#[cfg(test)]
mod asyncapi;
#[cfg(test)]
mod bench;
#[cfg(test)]
mod cache;
#[cfg(test)]
mod call_log;
#[cfg(test)]
mod cli_client;
#[cfg(test)]
mod cli_errors;
#[cfg(test)]
mod cli_ids;
#[cfg(test)]
mod cli_import;
#[cfg(test)]
mod cli_import_files;
#[cfg(test)]
mod cli_input;
#[cfg(test)]
mod cli_lists;
#[cfg(test)]
mod cli_output;
#[cfg(test)]
mod cli_server;
#[cfg(test)]
mod cli_text;
#[cfg(test)]
mod clients;
#[cfg(test)]
mod config;
#[cfg(test)]
mod contract;
#[cfg(test)]
mod counted_events;
#[cfg(test)]
mod day;
#[cfg(test)]
mod domain;
#[cfg(test)]
mod errors;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod file_permissions;
#[cfg(test)]
mod http_day;
#[cfg(test)]
mod http_differential;
#[cfg(test)]
mod http_host;
#[cfg(test)]
mod http_json;
#[cfg(test)]
mod http_pages;
#[cfg(test)]
mod http_problem;
#[cfg(test)]
mod http_protocol;
#[cfg(test)]
mod http_streams;
#[cfg(test)]
mod http_support;
#[cfg(test)]
mod http_unary;
#[cfg(test)]
mod journal;
#[cfg(test)]
mod kafka;
#[cfg(test)]
mod leaks;
#[cfg(test)]
mod lifecycle;
#[cfg(test)]
mod openapi;
#[cfg(test)]
mod openapi_story;
#[cfg(test)]
mod paths;
#[cfg(test)]
mod pipeline;
#[cfg(test)]
mod postgres;
#[cfg(test)]
mod process;
#[cfg(test)]
mod relay;
#[cfg(test)]
mod restored_store;
#[cfg(test)]
mod schema_docs;
#[cfg(test)]
mod shells;
#[cfg(test)]
mod start_errors;
#[cfg(test)]
mod storm;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tidy;
#[cfg(test)]
mod tours;
#[cfg(test)]
mod watch_events;
#[cfg(test)]
mod writer;
