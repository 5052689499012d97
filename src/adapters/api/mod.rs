//! The parts that gRPC and REST share: the call context, requests as commands
//! and queries, the import as a stream of messages, and the memory of incomplete
//! requests.

mod answers;
mod call_context;
mod import;
mod request_memory;
pub mod requests;

pub use answers::Answers;
pub use call_context::{
    ACTOR, Answered, CORRELATION_ID, Call, CallContext, GRPC_TIMEOUT, REPLAYED, Refused, correlation_id,
    grpc_timeout,
};
pub use import::{ImportService, import_request};
pub use request_memory::{OPEN_REQUEST, RequestBytes, RequestMemory, StreamBytes};
