//! What the command can do, and how it says it.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};
use prost::Message as _;
use seinpost_certs::covenant::{Draft, Tables, build};
use seinpost_certs::fault::Fault;
use seinpost_certs::files;
use seinpost_certs::key::{Key, KeyKind};
use seinpost_certs::pki::{Hierarchy, Request, Usage, Validity, read_certificates};
use seinpost_certs::registrar::{Registrar, unsigned};
use seinpost_certs::world::{Options, World};
use seinpost_protocol::address::{Oin, function_code};
use seinpost_protocol::checkpoint::LogKey;
use seinpost_protocol::covenant::{Covenant, Trust};
use seinpost_protocol::hub::HubFile;
use seinpost_protocol::item;
use seinpost_protocol::signature::verify_ed25519;
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::wire;
use zeroize::Zeroizing;

/// Makes development certificates, registrars and covenants; nothing here is for production.
#[derive(Parser)]
#[command(
    name = "seinpost-certs",
    version,
    before_long_help = "Examples:\n  \
        seinpost-certs dev ./dev                      a whole world: PKI, covenant, hub, agencies\n  \
        seinpost-certs ca new ./ca/signing --name \"Town signing\"\n  \
        seinpost-certs covenant show ./dev/hub/covenants/0001.covenant"
)]
pub(crate) struct Command {
    #[command(subcommand)]
    verb: Verb,
}

/// Reads the arguments; says what is wrong with them, or helps, and ends.
///
/// The help of every verb has one order: a sentence, examples (in `--help`), flags.
pub(crate) fn parse() -> Command {
    fn ordered(command: clap::Command) -> clap::Command {
        command
            .help_template("{about}\n\n{before-help}{usage-heading} {usage}\n\n{all-args}{after-help}")
            .mut_subcommands(ordered)
    }
    let matches = ordered(Command::command()).get_matches();
    Command::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

#[derive(Subcommand)]
enum Verb {
    Dev(Dev),
    #[command(subcommand)]
    Ca(Ca),
    Issue(Issue),
    Revoke(Revoke),
    #[command(subcommand)]
    Registrar(RegistrarVerb),
    LogKey(LogKeyNew),
    #[command(subcommand)]
    Covenant(CovenantVerb),
}

/// Makes a world in a folder: PKI, registrars, covenant of the whole country, a hub and its first agencies.
///
/// A world that is there already is left as it is.
#[derive(Args)]
#[command(
    before_long_help = "Examples:\n  seinpost-certs dev ./dev\n  seinpost-certs dev ./dev --listen 127.0.0.1:9443 --metrics \"\""
)]
struct Dev {
    /// Folder of the world.
    dir: PathBuf,
    /// Address and port at which the gateway will listen.
    #[arg(long, default_value = "127.0.0.1:8443")]
    listen: String,
    /// Address and port of its metrics; empty: none.
    #[arg(long, default_value = "127.0.0.1:9464")]
    metrics: String,
    /// Name of the log.
    #[arg(long, default_value = "seinpost.test/dev")]
    origin: String,
}

/// Makes certification authorities and their revocation lists.
#[derive(Subcommand)]
enum Ca {
    /// Makes a root and an issuing authority below it.
    #[command(before_long_help = "Example:\n  seinpost-certs ca new ./ca/transport --name \"Town transport\"")]
    New {
        /// Folder of the two authorities.
        dir: PathBuf,
        /// Name of the hierarchy; " root (TEST)" and " issuing (TEST)" are added.
        #[arg(long)]
        name: String,
    },
    /// Writes new revocation lists of both authorities, with higher numbers.
    #[command(before_long_help = "Example:\n  seinpost-certs ca crl ./ca/transport --out ./hub/crls")]
    Crl {
        /// Folder of the two authorities.
        dir: PathBuf,
        /// Folder for the lists, which are named after the authorities' folder.
        #[arg(long)]
        out: PathBuf,
        /// For how many days the lists are valid.
        #[arg(long, default_value_t = 7)]
        days: u64,
    },
}

/// Issues a certificate for a new key, or for one that is there.
#[derive(Args)]
#[command(before_long_help = "Examples:\n  \
    seinpost-certs issue --ca ./ca/transport --oin 00000099400000000013 --organisation \"Veilig Thuis (TEST)\" \
    --usage client --out ./tls\n  \
    seinpost-certs issue --ca ./ca/signing --oin 00000099400000000013 --organisation \"Veilig Thuis (TEST)\" \
    --usage signing --kind ed25519 --out ./signing")]
struct Issue {
    /// Folder of the authorities.
    #[arg(long)]
    ca: PathBuf,
    /// OIN of the organisation.
    #[arg(long)]
    oin: String,
    /// Name of the organisation.
    #[arg(long)]
    organisation: String,
    /// Name of the system; absent: the organisation's.
    #[arg(long)]
    name: Option<String>,
    /// What the certificate is for.
    #[arg(long, value_enum)]
    usage: UsageName,
    /// Kind of the new key.
    #[arg(long, value_enum, default_value = "p256")]
    kind: KindName,
    /// File of a key that is there (PKCS#8, PEM), instead of a new one.
    #[arg(long, conflicts_with = "kind")]
    key: Option<PathBuf>,
    /// For how many days it is valid.
    #[arg(long, default_value_t = 730)]
    days: u64,
    /// Where it goes: OUT.pem, and OUT.key if the key is new.
    #[arg(long)]
    out: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum UsageName {
    /// Opens connections to the hub.
    Client,
    /// Accepts connections, on this machine.
    Server,
    /// Signs items (documentSigning).
    Signing,
    /// Signs items (emailProtection).
    Mail,
}

#[derive(Clone, Copy, ValueEnum)]
enum KindName {
    Ed25519,
    P256,
    P384,
    Rsa3072,
}

/// Revokes a certificate; then write new lists with `ca crl`.
#[derive(Args)]
#[command(before_long_help = "Example:\n  seinpost-certs revoke --ca ./ca/signing ./signing.pem")]
struct Revoke {
    /// Folder of the authorities.
    #[arg(long)]
    ca: PathBuf,
    /// File of the certificate, PEM.
    certificate: PathBuf,
}

/// Makes registrars, who sign covenants.
#[derive(Subcommand)]
enum RegistrarVerb {
    /// Makes a registrar's key, and its public file for a covenant's draft.
    #[command(before_long_help = "Example:\n  \
        seinpost-certs registrar new ./registrars/police --name \"Police (TEST)\" --oin 00000099920000000001")]
    New {
        /// Folder for registrar.key and registrar.toml.
        dir: PathBuf,
        /// Name of the registrar.
        #[arg(long)]
        name: String,
        /// Its OIN; never the hub's.
        #[arg(long)]
        oin: String,
    },
}

/// Makes a log's signing key and prints its public half as clients write it.
#[derive(Args)]
#[command(before_long_help = "Example:\n  seinpost-certs log-key ./log.key --origin seinpost.test/dev")]
struct LogKeyNew {
    /// File of the private key.
    file: PathBuf,
    /// Name of the log.
    #[arg(long)]
    origin: String,
}

/// Builds, signs and shows covenants.
#[derive(Subcommand)]
enum CovenantVerb {
    /// Builds a covenant from a draft and tables; nobody has signed it yet.
    #[command(before_long_help = "Example:\n  seinpost-certs covenant build ./dev/covenant.toml --out ./0002.covenant")]
    Build {
        /// File of the draft; `seinpost-certs dev` leaves one, covenant.toml.
        draft: PathBuf,
        /// Folder of tables; absent: those of the development covenant.
        #[arg(long)]
        tables: Option<PathBuf>,
        /// File of the covenant.
        #[arg(long)]
        out: PathBuf,
    },
    /// Adds a registrar's signature to a covenant.
    #[command(
        before_long_help = "Example:\n  seinpost-certs covenant sign ./0002.covenant --registrar ./dev/registrars/police"
    )]
    Sign {
        /// File of the covenant.
        file: PathBuf,
        /// Folder of the registrar.
        #[arg(long)]
        registrar: PathBuf,
    },
    /// Shows what a covenant says and who has signed it.
    #[command(before_long_help = "Examples:\n  \
        seinpost-certs covenant show ./dev/hub/covenants/0001.covenant\n  \
        seinpost-certs covenant show ./dev/hub/covenants/0001.covenant --hub ./dev/hub.toml")]
    Show {
        /// File of the covenant.
        file: PathBuf,
        /// The hub file by which a first covenant is verified.
        #[arg(long)]
        hub: Option<PathBuf>,
    },
}

/// Does what the command line says.
pub(crate) fn run(command: Command) -> Result<(), Fault> {
    match command.verb {
        Verb::Dev(dev) => run_dev(&dev),
        Verb::Ca(ca) => run_ca(&ca),
        Verb::Issue(issue) => run_issue(&issue),
        Verb::Revoke(revoke) => run_revoke(&revoke),
        Verb::Registrar(RegistrarVerb::New { dir, name, oin }) => {
            let registrar = Registrar::generate(name, read_oin(&oin)?)?;
            registrar.save(&dir)?;
            say(format_args!("made {}; its public half is registrar.toml", dir.display()));
            Ok(())
        }
        Verb::LogKey(LogKeyNew { file, origin }) => {
            let key = Key::generate(KeyKind::Ed25519)?;
            files::write_secret(&file, key.to_pem().as_bytes())?;
            let public = LogKey::new(key.ed25519_public().expect("the key is Ed25519"));
            print(&format!("{}\n", public.vkey(&origin)))
        }
        Verb::Covenant(verb) => run_covenant(&verb),
    }
}

/// Returns the exit code of a fault: 2 for wrong use, 70 for one of ours.
pub(crate) fn exit_code(fault: &Fault) -> u8 {
    match fault {
        Fault::Exists(_) | Fault::File { .. } | Fault::Data { .. } => 2,
        Fault::Certificate { .. } => 70,
    }
}

fn run_dev(dev: &Dev) -> Result<(), Fault> {
    let is_there = dev.dir.join("world.toml").exists();
    let options =
        Options { listen: dev.listen.clone(), metrics: dev.metrics.clone(), origin: dev.origin.clone(), now: now()? };
    let world = World::make(&dev.dir, &options)?;
    let covenant = world.covenant_message();
    let did = if is_there { "found" } else { "made" };
    say(format_args!(
        "{did} {}: {} participants, {} rules, log {}",
        dev.dir.display(),
        covenant.participants.len(),
        covenant.rules.len(),
        world.origin(),
    ));
    let mut text = format!("gateway    {}\n", world.gateway_config().display());
    for identity in world.identities() {
        let _ = writeln!(text, "profile    {}  {}", world.profile(identity.name).display(), identity.address);
    }
    print(&text)
}

fn run_ca(ca: &Ca) -> Result<(), Fault> {
    match ca {
        Ca::New { dir, name } => {
            Hierarchy::generate(name, now()?)?.save(dir)?;
            say(format_args!("made {0}: root.pem is what a covenant names", dir.display()));
            Ok(())
        }
        Ca::Crl { dir, out, days } => {
            let mut hierarchy = Hierarchy::load(dir)?;
            hierarchy.root.renew_crl();
            hierarchy.issuing.renew_crl();
            let [root, issuing] = hierarchy.crls(Validity::days(now()?, *days))?;
            files::make_folder(out)?;
            hierarchy.root.save_revocations(dir, "root")?;
            hierarchy.issuing.save_revocations(dir, "issuing")?;
            let name = dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            for (list, der) in [("root", root), ("issuing", issuing)] {
                let path = out.join(format!("{name}-{list}.crl"));
                files::replace(&path, der)?;
                say(format_args!("wrote {}", path.display()));
            }
            Ok(())
        }
    }
}

fn run_issue(issue: &Issue) -> Result<(), Fault> {
    let hierarchy = Hierarchy::load(&issue.ca)?;
    let oin = read_oin(&issue.oin)?;
    let kind = match issue.kind {
        KindName::Ed25519 => KeyKind::Ed25519,
        KindName::P256 => KeyKind::P256,
        KindName::P384 => KeyKind::P384,
        KindName::Rsa3072 => KeyKind::Rsa3072,
    };
    let key = match &issue.key {
        Some(path) => Key::from_pem(&Zeroizing::new(files::read_text(path)?))?,
        None => Key::generate(kind)?,
    };
    let request = Request {
        oins: vec![oin.as_str().to_owned()],
        common_name: issue.name.clone().unwrap_or_else(|| issue.organisation.clone()),
        organisation: issue.organisation.clone(),
        usage: match issue.usage {
            UsageName::Client => Usage::Client,
            UsageName::Server => Usage::Server,
            UsageName::Signing => Usage::Signing,
            UsageName::Mail => Usage::Mail,
        },
        validity: Validity::days(now()?, issue.days),
    };
    let issued = hierarchy.issue(&request, &key)?;
    let with = |extension: &str| PathBuf::from(format!("{}.{extension}", issue.out.display()));
    if issue.key.is_none() {
        files::write_secret(&with("key"), key.to_pem().as_bytes())?;
    }
    files::write_new(&with("pem"), issued.to_pem())?;
    say(format_args!("issued {}", with("pem").display()));
    print(&format!("certificate {}\nkey         {}\n", issued.sha256(), key.spki_sha256()))
}

fn run_revoke(revoke: &Revoke) -> Result<(), Fault> {
    let mut hierarchy = Hierarchy::load(&revoke.ca)?;
    let leaf = read_certificates(&revoke.certificate)?.swap_remove(0);
    hierarchy.issuing.revoke(&leaf, now()?)?;
    hierarchy.issuing.save_revocations(&revoke.ca, "issuing")?;
    say(format_args!(
        "revoked {}; now write new lists: seinpost-certs ca crl {}",
        revoke.certificate.display(),
        revoke.ca.display()
    ));
    Ok(())
}

fn run_covenant(verb: &CovenantVerb) -> Result<(), Fault> {
    match verb {
        CovenantVerb::Build { draft, tables, out } => {
            let tables = match tables {
                Some(folder) => Tables::read(folder)?,
                None => Tables::development()?,
            };
            let item = unsigned(&build(&tables, &Draft::read(draft)?)?);
            files::write_new(out, item.encode_to_vec())?;
            say(format_args!("built {}; now let registrars sign it: seinpost-certs covenant sign", out.display()));
            print(&format!("{}\n", item::digest_of(&item.payload_type, &item.payload)))
        }
        CovenantVerb::Sign { file, registrar } => {
            let mut item = read_item(file)?;
            let registrar = Registrar::load(registrar)?;
            if has_signed(&item, &registrar.entry()) {
                return Err(Fault::data(
                    file.display().to_string(),
                    format!("{} has signed it already", registrar.entry().name),
                ));
            }
            registrar.sign(&mut item)?;
            files::replace(file, item.encode_to_vec())?;
            say(format_args!("{} signed {}", registrar.entry().name, file.display()));
            Ok(())
        }
        CovenantVerb::Show { file, hub } => {
            let item = read_item(file)?;
            let mut text = show(&item).map_err(|error| Fault::data(file.display().to_string(), error.to_string()))?;
            if let Some(hub) = hub {
                verify(&item, hub)?;
                text.push_str("it is the covenant that the hub file names, and holds by every rule\n");
            }
            print(&text)
        }
    }
}

/// Says what a covenant says, and which of its own registrars have signed it.
fn show(item: &wire::SignedItem) -> Result<String, prost::DecodeError> {
    let covenant = wire::Covenant::decode(item.payload.clone())?;
    let time = |time: &Option<prost_types::Timestamp>| {
        let time = time.as_ref().and_then(|time| Timestamp::try_from(time).ok());
        time.map_or_else(|| "no time".to_owned(), |time| time.to_string())
    };

    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<14}{value}");
    };
    line("log", covenant.log_origin.clone());
    line("serial", covenant.serial.to_string());
    line("digest", item::digest_of(&item.payload_type, &item.payload).to_string());
    line("valid", format!("{} to {}", time(&covenant.valid_from), time(&covenant.valid_until)));
    line("size", format!("{} bytes", item.encoded_len()));
    line("hub", covenant.hub_oin.clone());
    for registrar in &covenant.registrars {
        let did = if has_signed(item, registrar) { "signed" } else { "not signed" };
        line("registrar", format!("{}  {}  {did}", registrar.oin, registrar.name));
    }
    line("threshold", format!("{} of {}", covenant.threshold, covenant.registrars.len()));
    line("participants", covenant.participants.len().to_string());
    line("suspended", covenant.participants.iter().filter(|one| one.suspended).count().to_string());
    let mut functions = std::collections::BTreeMap::<&str, usize>::new();
    for grant in covenant.participants.iter().flat_map(|participant| &participant.functions) {
        *functions.entry(function_code(grant.function())).or_default() += 1;
    }
    for (function, count) in functions {
        line("", format!("{count:>5}  {function}"));
    }
    line("routes", covenant.routes.len().to_string());
    line("code lists", covenant.code_lists.iter().map(|list| list.id.as_str()).collect::<Vec<_>>().join(", "));
    line("profiles", covenant.profiles.len().to_string());
    line("clocks", covenant.clocks.len().to_string());
    for rule in &covenant.rules {
        line("rule", format!("{:<24}{:<16}{}", rule.id, rule.legal_basis, rule.reason_en));
    }
    Ok(text)
}

fn has_signed(item: &wire::SignedItem, registrar: &wire::Registrar) -> bool {
    let signed = item::pae(&item.payload_type, &item.payload);
    let key = <&[u8; 32]>::try_from(registrar.ed25519.as_ref());
    key.is_ok_and(|key| item.signatures.iter().any(|signature| verify_ed25519(key, &signed, &signature.sig).is_ok()))
}

fn verify(item: &wire::SignedItem, hub: &Path) -> Result<(), Fault> {
    let at = hub.display().to_string();
    let file = HubFile::parse(&files::read_text(hub)?).map_err(|faults| {
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        Fault::data(&at, faults.join("; "))
    })?;
    Covenant::verify(item, &Trust::Floor(file.floor())).map_err(|bad| Fault::data("the covenant", bad.to_string()))?;
    Ok(())
}

fn read_item(path: &Path) -> Result<wire::SignedItem, Fault> {
    let item = wire::SignedItem::decode(Bytes::from(files::read(path)?));
    item.map_err(|error| Fault::data(path.display().to_string(), error.to_string()))
}

fn read_oin(text: &str) -> Result<Oin, Fault> {
    Oin::try_from(text).map_err(|error| Fault::data(format!("--oin {text}"), error.to_string()))
}

/// The one place where the time is read.
fn now() -> Result<Timestamp, Fault> {
    Timestamp::from_millis(jiff::Timestamp::now().as_millisecond())
        .ok_or_else(|| Fault::data("the clock", "is not within 2020 to 2099"))
}

/// Writes data to standard output; a reader that has gone away is no fault.
fn print(text: &str) -> Result<(), Fault> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Fault::File { path: PathBuf::from("standard output"), error })
        }
        _ => Ok(()),
    }
}

/// Says what was done, on standard error.
fn say(what: std::fmt::Arguments<'_>) {
    eprintln!("{what}");
}
