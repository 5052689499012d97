//! The gRPC face: the service, health, reflection.

mod bare_status;
mod call_context;
mod direct;
mod ending;
mod import;
mod operate;
mod preface_timeout;
mod request;
mod server;
mod service;
mod status;

pub use call_context::CallContext;
pub use server::{GrpcOptions, serve};
pub use service::GrpcOrderService;
