//! The parts that gRPC and REST share: the call context, requests as commands
//! and queries, and the import as a stream of messages.

mod call_context;
mod import;
pub mod requests;

pub use call_context::{
    ACTOR, Answered, CORRELATION_ID, Call, CallContext, GRPC_TIMEOUT, REPLAYED, Refused, correlation_id,
    grpc_timeout,
};
pub use import::{ImportService, import_request};
