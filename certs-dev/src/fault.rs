//! What can go wrong here: files that are in the way or missing, data that says something impossible, certificates
//! that cannot be made. Each fault says where, and never shows a key.

use std::path::{Path, PathBuf};

/// Why a certificate, a covenant or a world could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// A file would have been overwritten: a key that is gone cannot be had back.
    #[error("{0} exists already and is not overwritten")]
    Exists(PathBuf),
    /// A file cannot be read or written.
    #[error("{path}: {error}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// A file or an argument says something that cannot be.
    #[error("{at}: {wrong}")]
    Data {
        /// The file, table or argument.
        at: String,
        /// What is wrong with it.
        wrong: String,
    },
    /// A key or certificate cannot be made or read.
    #[error("{what}: {error}")]
    Certificate {
        /// What was being made or read.
        what: &'static str,
        /// What the library says.
        error: rcgen::Error,
    },
}

impl Fault {
    /// Makes the fault of a file that cannot be read or written.
    pub(crate) fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => Self::Exists(path),
            _ => Self::File { path, error },
        }
    }

    /// Makes the fault of data that cannot be.
    #[must_use]
    pub fn data(at: impl Into<String>, wrong: impl Into<String>) -> Self {
        Self::Data { at: at.into(), wrong: wrong.into() }
    }

    /// Makes the fault of a key or certificate.
    pub(crate) fn certificate(what: &'static str) -> impl FnOnce(rcgen::Error) -> Self {
        move |error| Self::Certificate { what, error }
    }
}
