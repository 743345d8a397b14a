//! The configuration: one table of keys, from which reading, checking and `init` all follow.
//!
//! In comes a TOML file, with environment variables above it (`SEINPOST_LOG__ORIGIN` is `log.origin`) and defaults
//! below; out goes a plain [`Config`], or every fault at once, each with the place that its value came from. It is
//! read once, at the start. No secret is a value here: keys are files, named by path.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use figment::providers::{Env, Format as _, Toml};
use figment::value::{Dict, Value};
use figment::{Figment, Source};
use serde::Deserialize;
use serde::de::{DeserializeOwned, Error as _};

use crate::accept;
use crate::journal::frame::{FRAME_BYTES_MAX, SECTOR};
use crate::tls::Profile;

/// What a gateway is told before it starts.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where agencies connect.
    pub listen: SocketAddr,
    /// Where metrics are read; on loopback.
    pub metrics: Option<SocketAddr>,
    /// The hub's folder: journal, store, head file.
    pub data: PathBuf,
    /// Whether the services describe themselves to any peer.
    pub reflection: bool,
    /// Name of the log; it stands in each checkpoint and each item.
    pub origin: String,
    /// File of the log's private key.
    pub log_key: PathBuf,
    /// File of the hub's transport certificate, leaf first.
    pub tls_certificate: PathBuf,
    /// File of the key to it.
    pub tls_key: PathBuf,
    /// Which TLS is spoken.
    pub tls_profile: Profile,
    /// `hub.toml`: registrars, threshold, and the covenant to begin with.
    pub hub: PathBuf,
    /// Folder of covenants, `*.covenant`.
    pub covenants: PathBuf,
    /// Folder of revocation lists, `*.crl`.
    pub crls: PathBuf,
    /// How long intake goes on with a revocation list that is overdue.
    pub crl_grace: Duration,
    /// How the operator's log is written.
    pub logs: Format,
    /// What is written to it, in the words of `tracing`.
    pub logs_filter: String,
    /// Bytes that requests may hold at one time.
    pub memory_bytes: usize,
    /// Bytes of these that one agency may hold.
    pub memory_per_agency_bytes: usize,
    /// Bytes that must stay free on the disk of the data folder.
    pub disk_free_bytes: u64,
    /// Size of the journal's segments made from now on.
    pub segment_bytes: u64,
    /// Bounds on connections.
    pub connections: accept::Limits,
}

/// How the operator's log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
}

/// One key of the configuration.
struct Key {
    name: &'static str,
    /// As TOML; `None`: it must be given.
    default: Option<&'static str>,
    /// What `init` writes beside it: meaning, unit, bound.
    comment: &'static str,
}

const fn key(name: &'static str, default: Option<&'static str>, comment: &'static str) -> Key {
    Key { name, default, comment }
}

const KEYS: &[Key] = &[
    key("listen", Some("\"127.0.0.1:8443\""), "Address and port where agencies connect (mutual TLS)."),
    key(
        "metrics",
        Some("\"127.0.0.1:9464\""),
        "Address and port of the metrics (Prometheus, plain HTTP): loopback only. Empty: none.",
    ),
    key("data", Some("\"data\""), "Folder of journal, store and head file. Only this gateway writes there."),
    key("reflection", Some("false"), "Describe the services to any peer (gRPC reflection). For development."),
    key("log.origin", None, "Name of the log. It stands in every checkpoint and every item, and never changes."),
    key("log.key", Some("\"log.key\""), "The log's private key: Ed25519, PKCS#8, PEM, readable by its owner alone."),
    key("tls.certificate", Some("\"tls.pem\""), "The hub's transport certificate, leaf first; it bears the hub's OIN."),
    key("tls.key", Some("\"tls.key\""), "The key to it: PKCS#8, PEM, readable by its owner alone."),
    key(
        "tls.profile",
        Some("\"ncsc-2025-good\""),
        "NCSC-NL 2025-05: \"ncsc-2025-good\" (hybrid key exchange alone) or \"ncsc-2025-sufficient\".",
    ),
    key(
        "covenant.hub",
        Some("\"hub.toml\""),
        "Registrars, threshold, and the covenant to begin with: what clients pin.",
    ),
    key(
        "covenant.folder",
        Some("\"covenants\""),
        "Covenants as the registrars signed them (*.covenant); read at start.",
    ),
    key(
        "crl.folder",
        Some("\"crls\""),
        "Revocation lists (*.crl, DER) of every authority below a root; read at start.",
    ),
    key("crl.grace", Some("\"24h\""), "How long intake goes on when a revocation list is overdue; alarm at once."),
    key("logs.format", Some("\"pretty\""), "The operator's log: \"pretty\" for people, \"json\" for machines."),
    key("logs.filter", Some("\"info\""), "What is written to it, such as \"warn\" or \"info,seinpost_gateway=debug\"."),
    key("limits.memory", Some("\"128MiB\""), "Bytes that requests may hold at one time."),
    key("limits.memory_per_agency", Some("\"32MiB\""), "Bytes of these that one agency may hold."),
    key("limits.disk_free", Some("\"1GiB\""), "Free bytes on the disk of the data folder below which intake stops."),
    key(
        "limits.segment",
        Some("\"64MiB\""),
        "Size of the journal's segments made from now on: each is filled with zeros before it is needed.",
    ),
    key("limits.connections", Some("4096"), "Connections at one time."),
    key("limits.connections_per_agency", Some("64"), "Connections of one agency at one time."),
    key("limits.handshakes", Some("256"), "TLS handshakes at one time."),
    key("limits.handshakes_per_source", Some("32"), "TLS handshakes at one time from one source address."),
    key("limits.handshake", Some("\"5s\""), "How long a TLS handshake may take."),
    key("limits.preface", Some("\"5s\""), "How long the first bytes after it may take."),
    key(
        "limits.connection_age",
        Some("\"1h\""),
        "Age at which a connection is asked to end, and certificate and covenant are asked anew.",
    ),
    key("limits.drain", Some("\"30s\""), "How long calls may still run when the gateway stops."),
];

/// Prefix of the environment variables; `__` stands for the dot.
const ENVIRONMENT: &str = "SEINPOST_";

/// Something in the configuration, or in a file that it names, that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The key, such as `log.key`.
    pub key: String,
    /// What is wrong, and what would do.
    pub text: String,
    /// Where the value came from.
    pub origin: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} (from {})", self.key, self.text, self.origin)
    }
}

/// The sources of a configuration, merged but not yet understood.
pub struct Sources {
    figment: Figment,
    folder: PathBuf,
}

impl Sources {
    /// Reads the file at `path` and the environment.
    pub fn read(path: &Path) -> Result<Self, Vec<Fault>> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            vec![Fault {
                key: "--config".to_owned(),
                text: format!("{}: {error}; `seinpost-gateway init` writes one", path.display()),
                origin: "the command line".to_owned(),
            }]
        })?;
        // figment shows TOML faults without the line; toml's own message has it.
        if let Err(error) = text.parse::<toml::Table>() {
            let fault = Fault {
                key: "--config".to_owned(),
                text: format!("no TOML: {}", error.to_string().trim_end()),
                origin: path.display().to_string(),
            };
            return Err(vec![fault]);
        }
        let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // Other programs of the project have variables of their own, such as the client's SEINPOST_PROFILE; what names one
        // of our sections is meant for us, and if it is mistyped it is told.
        let ours = |name: &str| {
            let section = |name: &str| name.split_once('.').map(|(section, _)| section.to_owned());
            KEYS.iter().any(|key| key.name == name || section(name).is_some() && section(name) == section(key.name))
        };
        let environment = Env::prefixed(ENVIRONMENT)
            .map(|name| name.as_str().replace("__", ".").into())
            .filter(move |name| ours(&name.as_str().to_ascii_lowercase()));
        let figment = Figment::new().merge(Toml::string(&defaults())).merge(Toml::file_exact(path)).merge(environment);
        Ok(Self { figment, folder: folder.to_owned() })
    }

    /// Understands every value; all faults at once.
    pub fn config(&self) -> Result<Config, Vec<Fault>> {
        let mut faults = self.unknown();
        let mut values = Values { sources: self, faults: &mut faults };
        let config = values.config();
        match config {
            Some(config) if faults.is_empty() => Ok(config),
            _ => Err(faults),
        }
    }

    /// Makes a configuration in which each value that has one of these faults is the default, so that `check` can go on with
    /// the files; none if no default helps. What it says of those keys counts for nothing.
    #[must_use]
    pub fn with_defaults_for(&self, faults: &[Fault]) -> Option<Config> {
        // Only the origin has no default; what the files say of it is left out by whoever asks.
        let defaults = KEYS.iter().filter(|key| faults.iter().any(|fault| fault.key == key.name)).map(|key| {
            let (name, default) = (key.name, key.default.unwrap_or("\"unknown\""));
            format!("{name} = {default}\n")
        });
        let figment = self.figment.clone().merge(Toml::string(&defaults.collect::<String>()));
        let sources = Self { figment, folder: self.folder.clone() };
        Values { sources: &sources, faults: &mut Vec::new() }.config()
    }

    /// Lists every key with its value and where that came from, for `check`.
    #[must_use]
    pub fn listing(&self) -> Vec<(String, String, String)> {
        let shown = |key: &Key| {
            let value = self.figment.find_value(key.name).ok();
            let value = value.map_or_else(|| "(not given)".to_owned(), |value| show(&value));
            (key.name.to_owned(), value, self.origin(key.name))
        };
        KEYS.iter().map(shown).collect()
    }

    /// Says where the value of a key came from.
    #[must_use]
    pub fn origin(&self, name: &str) -> String {
        let Some(metadata) = self.figment.find_metadata(name) else {
            return "nowhere".to_owned();
        };
        match &metadata.source {
            Some(Source::File(path)) => path.display().to_string(),
            _ if metadata.name.contains("environment") => {
                format!("the environment: {ENVIRONMENT}{}", name.to_ascii_uppercase().replace('.', "__"))
            }
            _ => "the default".to_owned(),
        }
    }

    fn unknown(&self) -> Vec<Fault> {
        let Ok(data) = self.figment.extract::<Dict>() else {
            return Vec::new();
        };
        let mut names = Vec::new();
        flatten("", &data, &mut names);
        let unknown = names.into_iter().filter(|name| !KEYS.iter().any(|key| key.name == *name));
        unknown
            .map(|name| {
                let text = match nearest(&name) {
                    Some(near) => format!("unknown key; did you mean {near}?"),
                    None => "unknown key".to_owned(),
                };
                Fault { text, origin: self.origin(&name), key: name }
            })
            .collect()
    }
}

/// Takes values out of the sources and notes each fault.
struct Values<'a> {
    sources: &'a Sources,
    faults: &'a mut Vec<Fault>,
}

impl Values<'_> {
    fn config(&mut self) -> Option<Config> {
        // Every line is evaluated before the first `?`, so that all faults are named in one go.
        let listen = self.take("listen");
        let metrics = self.take::<Optional<SocketAddr>>("metrics");
        let metrics = self.check("metrics", metrics, |metrics| match metrics.0 {
            Some(address) if !address.ip().is_loopback() => Some("metrics are served without TLS, so on loopback only"),
            _ => None,
        });
        let data = self.path("data");
        let reflection = self.take("reflection");
        let origin = self.take::<String>("log.origin");
        let origin = self.check("log.origin", origin, |origin| bad_origin(origin));
        let log_key = self.path("log.key");
        let tls_certificate = self.path("tls.certificate");
        let tls_key = self.path("tls.key");
        let tls_profile = self.take("tls.profile");
        let hub = self.path("covenant.hub");
        let covenants = self.path("covenant.folder");
        let crls = self.path("crl.folder");
        let crl_grace = self.take::<Span>("crl.grace");
        let crl_grace = self.check("crl.grace", crl_grace, |grace| {
            let day = Duration::from_secs(24 * 60 * 60);
            (grace.0 > day).then_some("at most 24h: clients take no signature by a list that is overdue for longer")
        });
        let logs = self.take("logs.format");
        let logs_filter = self.take::<String>("logs.filter");
        let logs_filter = self.check("logs.filter", logs_filter, |filter| {
            tracing_subscriber::EnvFilter::try_new(filter).is_err().then_some("no filter: write such as \"info\"")
        });
        let memory = self.take::<Size>("limits.memory");
        let share = self.take::<Size>("limits.memory_per_agency");
        // One submission must fit, or nothing could ever be sent.
        let fits = |size: &Size| (size.0 < 2 * 1024 * 1024).then_some("at least 2MiB, so that one submission fits");
        let memory = self.check("limits.memory", memory, fits);
        let share = self.check("limits.memory_per_agency", share, fits);
        let disk_free = self.take::<Size>("limits.disk_free");
        let segment = self.take::<Size>("limits.segment");
        // The largest frame must fit, and segments are counted in sectors.
        let bad = |size: &Size| {
            let fits = size.0 > FRAME_BYTES_MAX as u64 && size.0.is_multiple_of(SECTOR as u64);
            (!fits).then_some("a whole number of KiB that holds the largest frame: at least 17MiB")
        };
        let segment = self.check("limits.segment", segment, bad);
        let connections_max = self.count("limits.connections");
        let connections_per_peer_max = self.count("limits.connections_per_agency");
        let handshakes_max = self.count("limits.handshakes");
        let handshakes_per_source_max = self.count("limits.handshakes_per_source");
        let handshake = self.take::<Span>("limits.handshake");
        let preface = self.take::<Span>("limits.preface");
        let age = self.take::<Span>("limits.connection_age");
        let drain = self.take::<Span>("limits.drain");
        Some(Config {
            listen: listen?,
            metrics: metrics?.0,
            data: data?,
            reflection: reflection?,
            origin: origin?,
            log_key: log_key?,
            tls_certificate: tls_certificate?,
            tls_key: tls_key?,
            tls_profile: tls_profile?,
            hub: hub?,
            covenants: covenants?,
            crls: crls?,
            crl_grace: crl_grace?.0,
            logs: logs?,
            logs_filter: logs_filter?,
            memory_bytes: usize::try_from(memory?.0).unwrap_or(usize::MAX),
            memory_per_agency_bytes: usize::try_from(share?.0).unwrap_or(usize::MAX),
            disk_free_bytes: disk_free?.0,
            segment_bytes: segment?.0,
            connections: accept::Limits {
                handshake: handshake?.0,
                preface: preface?.0,
                handshakes_max: handshakes_max?,
                handshakes_per_source_max: handshakes_per_source_max?,
                connections_max: connections_max?,
                connections_per_peer_max: connections_per_peer_max?,
                age: age?.0,
                drain: drain?.0,
                ..accept::Limits::default()
            },
        })
    }

    fn take<T: DeserializeOwned>(&mut self, name: &str) -> Option<T> {
        match self.sources.figment.extract_inner(name) {
            Ok(value) => Some(value),
            Err(error) if error.missing() => self.fault(name, "must be given"),
            // figment puts what serde has quoted in quotes once more.
            Err(error) => self.fault(name, &error.kind.to_string().replace("``", "`")),
        }
    }

    fn check<T>(&mut self, name: &str, value: Option<T>, bad: impl Fn(&T) -> Option<&'static str>) -> Option<T> {
        let value = value?;
        match bad(&value) {
            Some(text) => self.fault(name, text),
            None => Some(value),
        }
    }

    fn count(&mut self, name: &str) -> Option<usize> {
        let count = self.take(name);
        self.check(name, count, |count| (*count == 0).then_some("at least 1"))
    }

    /// Paths are relative to the folder of the configuration file.
    fn path(&mut self, name: &str) -> Option<PathBuf> {
        let path = self.take::<PathBuf>(name);
        let path = self.check(name, path, |path| path.as_os_str().is_empty().then_some("a path is needed"))?;
        Some(self.sources.folder.join(path))
    }

    fn fault<T>(&mut self, name: &str, text: &str) -> Option<T> {
        let fault = Fault { key: name.to_owned(), text: text.to_owned(), origin: self.sources.origin(name) };
        self.faults.push(fault);
        None
    }
}

/// Says what is wrong with an origin, by the rules of signed notes and of our own signatures.
#[must_use]
pub fn bad_origin(origin: &str) -> Option<&'static str> {
    if origin.is_empty() || origin.len() > 128 {
        Some("1 to 128 characters")
    } else if !origin.chars().all(|character| character.is_ascii_graphic()) || origin.contains('+') {
        Some("printable ASCII without spaces or plus signs, since it is a key name in signed notes")
    } else if origin.starts_with("DSSEv1") {
        Some("may not begin with DSSEv1: the log key signs items too, and the two must never look alike")
    } else {
        None
    }
}

/// A value that may be given as nothing: the empty text.
#[derive(Debug)]
struct Optional<T>(Option<T>);

impl<'de, T: std::str::FromStr> Deserialize<'de> for Optional<T>
where
    T::Err: fmt::Display,
{
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            return Ok(Self(None));
        }
        text.parse().map(|value| Self(Some(value))).map_err(D::Error::custom)
    }
}

/// A duration as `500ms`, `30s`, `5m`, `24h`, `7d`; from a millisecond to 366 days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span(Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let units = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
        let millis = measure(&text, &units).filter(|millis| (1..=366 * 86_400_000).contains(millis));
        let millis =
            millis.ok_or_else(|| D::Error::custom("a duration such as \"30s\", \"5m\" or \"24h\" is needed"))?;
        Ok(Self(Duration::from_millis(millis)))
    }
}

/// A number of bytes as `64KiB`, `128MiB`, `1GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Size(u64);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // Semaphores count KiB in 29 bits at least; a TiB is far above any machine this runs on.
        let bytes =
            measure(&text, &[("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)]).filter(|bytes| *bytes <= 1 << 40);
        bytes.map(Self).ok_or_else(|| D::Error::custom("a size such as \"64KiB\", \"128MiB\" or \"1GiB\" is needed"))
    }
}

/// Reads a whole number and its unit.
fn measure(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|character: char| !character.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// Lists the full names of all keys in a table.
fn flatten(prefix: &str, table: &Dict, names: &mut Vec<String>) {
    for (name, value) in table {
        let name = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            Value::Dict(_, table) => flatten(&name, table, names),
            _ => names.push(name),
        }
    }
}

/// Finds the known key that a mistyped one most likely meant.
fn nearest(name: &str) -> Option<&'static str> {
    let close = KEYS.iter().map(|key| (distance(name, key.name), key.name)).min()?;
    (close.0 <= 3).then_some(close.1)
}

/// Counts the letters to change, add or drop between two names (Levenshtein).
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, letter) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

fn show(value: &Value) -> String {
    match value {
        Value::String(_, text) => format!("{text:?}"),
        Value::Bool(_, switch) => switch.to_string(),
        Value::Num(_, number) => number
            .to_i128()
            .map_or_else(|| number.to_f64().unwrap_or_default().to_string(), |number| number.to_string()),
        other => format!("{other:?}"),
    }
}

/// Writes the defaults as TOML, each under its full name.
fn defaults() -> String {
    let lines = KEYS.iter().filter_map(|key| key.default.map(|default| format!("{} = {default}\n", key.name)));
    lines.collect()
}

/// Writes a commented configuration: what must be given is filled from `given`, the rest stands as its default.
#[must_use]
pub fn commented(given: &[(&str, &str)]) -> String {
    let mut text = String::from(
        "# Configuration of a Seinpost gateway. Paths are relative to this file.\n\
         # Check it with: seinpost-gateway check --config FILE\n\
         # Each value may be given by the environment instead: SEINPOST_LOG__ORIGIN is log.origin.\n",
    );
    let mut section = "";
    for key in KEYS {
        let (own, name) = key.name.split_once('.').unwrap_or(("", key.name));
        if own != section {
            text.push_str(&format!("\n[{own}]\n"));
            section = own;
        }
        text.push_str(&format!("\n# {}\n", key.comment));
        match given.iter().find(|(given, _)| *given == key.name) {
            // A TOML basic string has the escapes of JSON.
            Some((_, value)) => text.push_str(&format!("{name} = {}\n", serde_json::Value::from(*value))),
            None => match key.default {
                Some(default) => text.push_str(&format!("# {name} = {default}\n")),
                None => text.push_str(&format!("{name} = \"\"\n")),
            },
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that unwraps what must be there fails at the line that says so")]

    use super::*;

    fn sources(text: &str) -> (tempfile::TempDir, Sources) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway.toml");
        std::fs::write(&path, text).unwrap();
        let sources = Sources::read(&path).unwrap();
        (folder, sources)
    }

    #[test]
    fn what_init_writes_is_read_back() {
        let (folder, sources) = sources(&commented(&[("log.origin", "hub.test/log")]));
        let config = sources.config().unwrap();
        assert_eq!(config.origin, "hub.test/log");
        assert_eq!(config.memory_bytes, 128 << 20);
        assert_eq!(config.crl_grace, Duration::from_secs(86_400));
        assert_eq!(config.log_key, folder.path().join("log.key"), "paths are relative to the file");
    }

    #[test]
    fn every_default_is_a_good_value() {
        let (_folder, sources) = sources("[log]\norigin = \"hub.test/log\"\n");
        assert_eq!(sources.config().unwrap().connections.handshakes_max, 256);
    }

    #[test]
    fn all_faults_are_named_at_once_with_their_origin() {
        let (folder, sources) = sources(
            "listen = \"nowhere\"\nmetrics = \"0.0.0.0:9\"\nlissten = 1\n[crl]\ngrace = \"soon\"\n[limits]\nconnections = 0\n",
        );
        let faults = sources.config().unwrap_err();
        let keys: Vec<_> = faults.iter().map(|fault| fault.key.as_str()).collect();
        assert_eq!(keys, ["lissten", "listen", "metrics", "log.origin", "crl.grace", "limits.connections"]);
        assert!(faults[0].text.contains("did you mean listen?"), "{}", faults[0]);
        assert_eq!(faults[1].origin, folder.path().join("gateway.toml").display().to_string());
    }

    #[test]
    fn an_origin_that_could_be_taken_for_a_signed_item_is_refused() {
        for origin in ["", "DSSEv1 hub", "hub log", "hub+log", "hüb"] {
            assert!(bad_origin(origin).is_some(), "{origin:?}");
        }
        assert!(bad_origin("hub.seinpost.test/log").is_none());
    }

    #[test]
    fn the_listing_says_where_each_value_came_from() {
        let (folder, sources) = sources("listen = \"127.0.0.1:1\"\n[log]\norigin = \"hub.test/log\"\n");
        let listing = sources.listing();
        let of = |name: &str| listing.iter().find(|(key, ..)| key == name).unwrap().clone();
        assert_eq!(of("listen").1, "\"127.0.0.1:1\"");
        assert_eq!(of("listen").2, folder.path().join("gateway.toml").display().to_string());
        assert_eq!(of("data").2, "the default");
        assert_eq!(of("limits.connections").1, "4096");
    }

    #[test]
    fn measures_have_a_number_and_a_known_unit() {
        let units = [("s", 1), ("m", 60)];
        for (text, value) in
            [("30s", Some(30)), ("2 m", Some(120)), ("2", None), ("m", None), ("2x", None), ("-2s", None)]
        {
            assert_eq!(measure(text, &units), value, "{text}");
        }
    }
}
