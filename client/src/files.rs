//! Files that survive a power cut: written aside, flushed, renamed, and the folder flushed too.
//!
//! Whoever returns from here with `Ok` may promise what was written. Nothing here knows what the bytes mean. The
//! calls block for a few milliseconds; they stand between network calls that last longer.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Its owner alone: keys, content.
    Secret,
    /// Whoever the folder lets in.
    Plain,
}

/// Replaces or creates a file, so that after a crash it holds either the old bytes or all of the new ones.
pub(crate) fn write(path: &Path, bytes: &[u8], mode: Mode) -> Result<()> {
    let folder = path.parent().expect("a file of the state has a folder");
    let aside = aside(path);
    let written = (|| {
        create(&aside, bytes, mode)?;
        fs::rename(&aside, path)?;
        sync_folder(folder)
    })();
    written.map_err(|error| {
        // What stands aside is nobody's; that it could not be removed either says nothing new.
        let _ = fs::remove_file(&aside);
        Error::file(path, &error)
    })
}

/// Creates a file that must not exist yet, and flushes it; its folder is the caller's to flush.
pub(crate) fn create(path: &Path, bytes: &[u8], mode: Mode) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(match mode {
            Mode::Secret => 0o600,
            Mode::Plain => 0o644,
        });
    }
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Makes renames and new files in a folder survive a power cut.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Creates a folder and those above it, readable by its owner alone, and flushes the folder it stands in.
pub(crate) fn create_folder(folder: &Path) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if folder.exists() {
        return Err(Error::usage(folder.display().to_string(), "a file, where a folder is needed"));
    }
    let created = (|| {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::DirBuilderExt as _;
            builder.mode(0o700);
        }
        builder.create(folder)?;
        folder
            .parent()
            .map_or(Ok(()), |parent| sync_folder(if parent.as_os_str().is_empty() { Path::new(".") } else { parent }))
    })();
    created.map_err(|error| Error::file(folder, &error))
}

/// Reads a file whose size has a stated bound, so that a damaged state cannot fill the memory.
pub(crate) fn read(path: &Path, bytes_max: usize) -> Result<Vec<u8>> {
    read_if_there(path, bytes_max)?.ok_or_else(|| Error::file(path, &io::ErrorKind::NotFound.into()))
}

/// Reads a file, or returns `None` if there is none.
pub(crate) fn read_if_there(path: &Path, bytes_max: usize) -> Result<Option<Vec<u8>>> {
    use std::io::Read as _;
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::file(path, &error)),
    };
    let mut bytes = Vec::new();
    let bound = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    file.take(bound).read_to_end(&mut bytes).map_err(|error| Error::file(path, &error))?;
    if bytes.len() > bytes_max {
        return Err(Error::usage(path.display().to_string(), format!("the file is larger than {bytes_max} bytes")));
    }
    Ok(Some(bytes))
}

/// Removes a file; that it is gone already is as good.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::file(path, &error)),
    }
}

/// Lists the files of a folder whose names end as given, by name; a folder that is not there holds none.
pub(crate) fn list(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::file(folder, &error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| Error::file(folder, &error))?.path();
        if path.extension().is_some_and(|found| found == extension) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Returns a name beside the file that no other writer uses.
fn aside(path: &Path) -> PathBuf {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().expect("a file of the state has a name"));
    name.push(format!(".{}-{count}.partial", std::process::id()));
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("pins.json");
        write(&path, b"first, and longer", Mode::Plain).expect("written");
        write(&path, b"second", Mode::Plain).expect("written");
        assert_eq!(read(&path, 64).expect("read"), b"second");
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
    }

    #[test]
    fn a_file_that_cannot_be_put_in_place_leaves_the_old_one_and_nothing_aside() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("taken");
        fs::create_dir(&path).expect("a folder where the file should go");
        assert!(write(&path, b"bytes", Mode::Plain).is_err());
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn a_secret_file_is_readable_by_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("seed");
        write(&path, b"secret", Mode::Secret).expect("written");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_beyond_its_bound_is_not_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("large");
        fs::write(&path, [0; 65]).expect("written");
        assert!(read(&path, 64).is_err());
        assert!(read(&path, 65).is_ok());
    }
}
