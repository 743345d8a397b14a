//! Which profile a command uses: the one named, else the only one in the configuration folder, else an error that
//! lists them.

use std::path::{Path, PathBuf};

use super::args::Global;
use super::{Doing as _, Failure};
use crate::client::Client;
use crate::error::{Error, Fault, Result};
use crate::profile::Profile;

/// Opens the client of the profile that was chosen.
pub(super) fn client(global: &Global) -> std::result::Result<Client, Failure> {
    profile(global).and_then(|profile| Client::open(profile).doing("the profile cannot be used"))
}

/// Loads the profile that was chosen; every fault of it is named at once.
pub(super) fn profile(global: &Global) -> std::result::Result<Profile, Failure> {
    path(global).and_then(|path| Profile::load(&path)).doing("the profile cannot be used")
}

/// Finds the file of the profile that was chosen.
pub(super) fn path(global: &Global) -> Result<PathBuf> {
    let folder = configuration_folder();
    match (&global.profile, from_environment("SEINPOST_PROFILE")) {
        (Some(named), _) => find("--profile ", named, folder.as_deref()),
        (None, Some(named)) => find("SEINPOST_PROFILE=", &named, folder.as_deref()),
        (None, None) => only(folder.as_deref()),
    }
}

fn from_environment(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// A path as it is, or the name of a profile in the configuration folder.
fn find(how: &str, named: &Path, folder: Option<&Path>) -> Result<PathBuf> {
    if named.is_file() {
        return Ok(named.to_owned());
    }
    let in_folder = folder.map(|folder| folder.join(named).with_extension("toml")).filter(|path| path.is_file());
    in_folder.ok_or_else(|| {
        let fault = Fault::new(format!("{how}{}", named.display()), "neither a file nor a profile by that name");
        Error::Usage(vec![fault.hint(known(folder))])
    })
}

fn only(folder: Option<&Path>) -> Result<PathBuf> {
    let profiles = folder.map(profiles).unwrap_or_default();
    match &profiles[..] {
        [one] => Ok(one.clone()),
        _ => Err(Error::Usage(vec![
            Fault::new("--profile", "no profile was named, and there is not exactly one to choose").hint(known(folder)),
        ])),
    }
}

fn known(folder: Option<&Path>) -> String {
    let Some(folder) = folder else { return "a file, by --profile or SEINPOST_PROFILE".to_owned() };
    let names: Vec<String> = profiles(folder)
        .iter()
        .filter_map(|path| path.file_stem().map(|name| name.to_string_lossy().into_owned()))
        .collect();
    if names.is_empty() {
        format!("a file, by --profile or SEINPOST_PROFILE; {} holds none", folder.display())
    } else {
        format!("a file, or one of {} (in {})", names.join(", "), folder.display())
    }
}

fn profiles(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "toml")).collect();
    paths.sort();
    paths
}

/// `$XDG_CONFIG_HOME/seinpost`, else `~/.config/seinpost`.
fn configuration_folder() -> Option<PathBuf> {
    let base =
        from_environment("XDG_CONFIG_HOME").or_else(|| from_environment("HOME").map(|home| home.join(".config")))?;
    Some(base.join("seinpost"))
}
