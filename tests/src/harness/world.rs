//! A world per hub: made once in a process, since its RSA keys take their time, and copied for each hub.
//!
//! A copy has the same keys and covenant and its own history; so two hubs of one process are two histories under one
//! log key, which is what forks are made of.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use seinpost_certs::world::{Options, World};
use seinpost_client::clock::Clock;
use seinpost_protocol::time::Timestamp;

/// Name of the log of all hubs here.
pub const ORIGIN: &str = "seinpost.test/system";

/// Returns the time by the machine's clock.
#[must_use]
pub fn now() -> Timestamp {
    Clock::system().now()
}

/// Makes a world in a new folder.
///
/// # Panics
/// If it cannot be made: then there is nothing to test.
#[must_use]
pub fn make(folder: &Path) -> World {
    template().copy_to(folder).expect("a world can be copied")
}

/// Copies a folder with all that is in it, rights included.
///
/// # Panics
/// If something cannot be read or written.
pub fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder can be made");
    for entry in std::fs::read_dir(from).expect("the folder can be read") {
        let path = entry.expect("the entry can be read").path();
        let target = to.join(path.file_name().expect("an entry has a name"));
        if path.is_dir() {
            copy_folder(&path, &target);
        } else {
            std::fs::copy(&path, &target).expect("a file can be copied");
        }
    }
}

fn template() -> &'static World {
    static TEMPLATE: OnceLock<World> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        remove_those_of_the_dead();
        let options = Options {
            listen: "127.0.0.1:0".to_owned(),
            metrics: "127.0.0.1:0".to_owned(),
            origin: ORIGIN.to_owned(),
            now: now(),
        };
        World::make(&folder_of(std::process::id()), &options).expect("a world can be made")
    })
}

const PREFIX: &str = "seinpost-world-";

fn folder_of(process: u32) -> PathBuf {
    std::env::temp_dir().join(format!("{PREFIX}{process}"))
}

/// Nothing runs when a process ends, so the next one clears up behind those before it.
fn remove_those_of_the_dead() {
    let entries = std::fs::read_dir(std::env::temp_dir()).expect("the folder for temporary files can be read");
    for entry in entries.flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(PREFIX)).and_then(|id| id.parse::<u32>().ok());
        let is_dead = |process: u32| process == std::process::id() || !Path::new(&format!("/proc/{process}")).exists();
        if process.is_some_and(is_dead) {
            // Somebody else may clear up at the same moment.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
