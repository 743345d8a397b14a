//! Generates the service stubs of `proto/seinpost/v1`; the messages are those of `seinpost-protocol`.

use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = root.join("seinpost/v1");
    println!("cargo:rerun-if-changed={}", folder.display());
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    files.retain(|file| file.file_name().is_some_and(|name| name.to_string_lossy().ends_with("_service.proto")));
    files.sort();
    let descriptors = protox::compile(&files, [&root])?;
    tonic_prost_build::configure()
        .extern_path(".seinpost.v1", "::seinpost_protocol::wire")
        .extern_path(".google.rpc", "::seinpost_protocol::wire::google_rpc")
        .compile_fds(descriptors)?;
    Ok(())
}
