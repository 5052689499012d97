//! Compiles `proto/`: messages, the gRPC service, the JSON mapping, the routes of
//! the REST gateway, the OpenAPI and AsyncAPI documents, a Postman collection, and the descriptor set
//! for reflection. It does not need `protoc`. Renders the documents for users too.

#[path = "build/asyncapi.rs"]
mod asyncapi;
#[path = "build/contract.rs"]
mod contract;
#[path = "build/documents.rs"]
mod documents;
#[path = "build/examples.rs"]
mod examples;
#[path = "build/openapi.rs"]
mod openapi;
#[path = "build/postman.rs"]
mod postman;
#[path = "build/routes.rs"]
mod routes;
#[path = "build/schema.rs"]
mod schema;
#[path = "build/swagger_ui.rs"]
mod swagger_ui;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

use prost::Message as _;

const PROTOS: [&str; 2] = ["pvz/v1/order_service.proto", "pvz/storage/v1/storage.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build");
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=migrations");
    println!("cargo:rerun-if-changed=docs");
    println!("cargo:rerun-if-changed=CHANGELOG.md");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_source_info(true).include_imports(true).open_files(PROTOS)?;
    // This encoding keeps the custom options. `file_descriptor_set()` drops them.
    let descriptors = compiler.encode_file_descriptor_set();
    fs::write(out.join("pvz.descriptors.bin"), &descriptors)?;
    generate_messages(&descriptors, &out)?;
    generate_json(&descriptors)?;
    let contract = contract::Contract::read(&descriptors, "pvz.v1.OrderService")?;
    fs::write(out.join("routes.rs"), routes::table(&contract)?)?;
    let answers = examples::Answers::read()?;
    let document = openapi::document(&contract, &answers, &env::var("CARGO_PKG_VERSION")?);
    fs::write(out.join("openapi.json"), serde_json::to_string_pretty(&document)? + "\n")?;
    fs::write(
        out.join("postman.json"),
        serde_json::to_string_pretty(&postman::collection(&document))? + "\n",
    )?;
    let events = asyncapi::document(&contract, &env::var("CARGO_PKG_VERSION")?)?;
    fs::write(out.join("asyncapi.json"), serde_json::to_string_pretty(&events)? + "\n")?;
    fs::write(out.join("swagger_ui.rs"), swagger_ui::unpack(&out)?)?;
    fs::write(out.join("documents.rs"), documents::render(&out)?)?;
    Ok(())
}

/// Generates the messages and the service, which `src/proto` includes.
fn generate_messages(descriptors: &[u8], out: &Path) -> Result<(), Box<dyn Error>> {
    let set = prost_types::FileDescriptorSet::decode(descriptors)?;
    tonic_prost_build::configure()
        .out_dir(out)
        .extern_path(".google.protobuf.Timestamp", "crate::proto::Timestamp")
        .extern_path(".google.api", "crate::proto::unused")
        .extern_path(".pvz.options.v1", "crate::proto::unused")
        .btree_map(".")
        .compile_fds(set)?;
    Ok(())
}

/// Generates the proto3 JSON mapping for serde.
fn generate_json(descriptors: &[u8]) -> Result<(), Box<dyn Error>> {
    pbjson_build::Builder::new()
        .register_descriptors(descriptors)?
        .extern_path(".google.protobuf", "crate::proto")
        .btree_map(["."])
        .emit_fields()
        .build(&[".pvz.v1"])?;
    Ok(())
}
