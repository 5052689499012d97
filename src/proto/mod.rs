//! The generated messages and service traits. Nothing here depends on the domain.

pub mod json;
mod timestamp;

pub use timestamp::Timestamp;

/// The contract: `proto/pvz/v1`.
#[expect(clippy::pedantic, clippy::too_many_lines, reason = "generated")]
pub mod v1 {
    tonic::include_proto!("pvz.v1");
    include!(concat!(env!("OUT_DIR"), "/pvz.v1.serde.rs"));
}

/// The binary columns of idempotency records, `proto/pvz/storage/v1`.
pub mod storage {
    #[expect(clippy::pedantic, reason = "generated")]
    pub mod v1 {
        tonic::include_proto!("pvz.storage.v1");
    }
}

/// The encoded `FileDescriptorSet` of all files in `proto/`, with custom options.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/pvz.descriptors.bin"));
