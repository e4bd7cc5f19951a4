//! Generates the messages and the service from the repository's protos, without protoc.

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let protos = Path::new("../../../protos");
    let files = protox::compile([protos.join("hushar/service.proto")], [protos])?;
    tonic_prost_build::configure().build_client(false).compile_fds(files)?;
    Ok(())
}
