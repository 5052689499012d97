//! gRPC: the service, health and reflection.

mod error_details;
mod incomplete_messages;
mod outbox;
mod request_body;
mod respond;
mod server;
mod service;
mod statistics;
mod status;
mod stream_cutoff;

pub use server::{GrpcOptions, serve};
pub use service::GrpcOrderService;
