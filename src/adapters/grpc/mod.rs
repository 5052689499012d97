//! The gRPC face: the service, health, reflection.

mod bare_status;
mod call;
mod connection;
mod direct;
mod ending;
mod import;
mod operate;
mod request;
mod server;
mod service;
mod status;

pub use call::Front;
pub use server::{GrpcOptions, serve};
pub use service::GrpcOrderService;
