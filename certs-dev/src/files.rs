//! Files as this crate leaves them: folders 0700, keys 0600, nothing ever overwritten.
//!
//! The rights are given when a file is made, not afterwards: between the two, anybody could have read it.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use crate::fault::Fault;

/// Makes a folder that only its owner may enter, with those above it; one that is there already is left as it is.
///
/// # Errors
/// [`Fault::File`] if the folder cannot be made.
pub fn make_folder(path: &Path) -> Result<(), Fault> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(Fault::file(path))
}

/// Writes a new file that anybody who can enter its folder may read.
///
/// # Errors
/// [`Fault::Exists`] if there is such a file, [`Fault::File`] if it cannot be written.
pub fn write_new(path: &Path, bytes: impl AsRef<[u8]>) -> Result<(), Fault> {
    write(path, bytes.as_ref(), 0o644)
}

/// Writes a new file that only its owner may read.
///
/// # Errors
/// [`Fault::Exists`] if there is such a file, [`Fault::File`] if it cannot be written.
pub fn write_secret(path: &Path, bytes: impl AsRef<[u8]>) -> Result<(), Fault> {
    write(path, bytes.as_ref(), 0o600)
}

/// Replaces a file at once: whoever reads it sees the old one or the new one. For lists that grow, never for keys.
///
/// # Errors
/// [`Fault::File`] if it cannot be written.
pub fn replace(path: &Path, bytes: impl AsRef<[u8]>) -> Result<(), Fault> {
    let aside = path.with_extension("new");
    std::fs::write(&aside, bytes).map_err(Fault::file(&aside))?;
    std::fs::rename(&aside, path).map_err(Fault::file(path))
}

/// Reads a file of text.
///
/// # Errors
/// [`Fault::File`] if it cannot be read.
pub fn read_text(path: &Path) -> Result<String, Fault> {
    std::fs::read_to_string(path).map_err(Fault::file(path))
}

/// Reads a file of bytes.
///
/// # Errors
/// [`Fault::File`] if it cannot be read.
pub fn read(path: &Path) -> Result<Vec<u8>, Fault> {
    std::fs::read(path).map_err(Fault::file(path))
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Fault> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(Fault::file(path))?;
    file.write_all(bytes).map_err(Fault::file(path))
}
