//! The words of the command line: verbs, flags, and the examples in their help. What they do stands in the other
//! files of this folder.

use std::path::PathBuf;

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};

/// Sends, receives and verifies signals about minors between agencies that protect children.
#[derive(Debug, Parser)]
#[command(
    name = "seinpost",
    version,
    max_term_width = 100,
    before_long_help = "Examples:\n  \
        seinpost template EXPLOITATION_SIGNAL > signal.json\n  \
        seinpost send signal.json --dry-run\n  \
        seinpost receive --follow --show",
    after_long_help = "Exit codes: 0 done · 1 refused · 2 wrong use · 3 not verified, evidence saved · 4 not found · \
        5 not reachable, try again · 6 not allowed · 70 a fault of ours · 130 interrupted"
)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) global: Global,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// Flags that mean the same everywhere.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Everywhere")]
pub(super) struct Global {
    /// The profile: a file, or the name of one in the configuration folder; else by SEINPOST_PROFILE.
    // Read where it is used: clap would show a flag that the environment sets as a part of every usage.
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) profile: Option<PathBuf>,
    /// How to print: tables for people, one JSON document, or one JSON object a line; an error is then one JSON object
    /// too, the last line on standard error.
    #[arg(long, global = true, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    pub(super) output: Format,
    /// Print only what a script needs, such as the id.
    #[arg(long, short, global = true)]
    pub(super) quiet: bool,
    /// Language of the covenant's labels and reasons; else by LC_MESSAGES.
    #[arg(long, global = true, value_enum, value_name = "LANG")]
    pub(super) lang: Option<Lang>,
    /// Times as RFC 3339 instead of "12 min ago".
    #[arg(long, global = true)]
    pub(super) absolute: bool,
    /// Colour: only on a terminal, always, or never; NO_COLOR is honoured.
    #[arg(long, global = true, value_enum, default_value_t = Colour::Auto, value_name = "WHEN")]
    pub(super) color: Colour,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Tables and sentences, for people.
    Table,
    /// One JSON document.
    Json,
    /// One JSON object a line.
    Jsonl,
}

/// Language of the covenant's labels and reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Lang {
    /// Dutch.
    Nl,
    /// English.
    En,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Colour {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Returns the command line with one order of help for every verb: a sentence, examples (in `--help`), flags.
pub(super) fn command() -> clap::Command {
    fn ordered(command: clap::Command) -> clap::Command {
        command
            .help_template("{about}\n\n{before-help}{usage-heading} {usage}\n\n{all-args}{after-help}")
            .mut_subcommands(ordered)
    }
    ordered(Cli::command())
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Write a profile and print what a registrar needs to enrol it.
    #[command(
        before_long_help = "Examples:\n  seinpost init --hub hub.toml --gateway hub.example:8443 --function SAFE_HOME \\\n      --tls-cert tls.pem --tls-key tls.key --sign-cert signing.pem --sign-key signing.key --into profile/\n  seinpost init --hub hub.toml --gateway hub.example:8443 --function AUDITOR --output json \\\n      --tls-cert tls.pem --tls-key tls.key --sign-cert signing.pem --sign-key signing.key --into auditor/"
    )]
    Init(Init),
    /// Sealing keys: make, publish, list.
    #[command(subcommand, before_long_help = "Examples:\n  seinpost keys publish\n  seinpost keys list")]
    Keys(Keys),
    /// Test a profile from files to mailbox: one line each, and what to do.
    #[command(
        before_long_help = "Examples:\n  seinpost check\n  seinpost check --profile safe-home.toml --output json"
    )]
    Check,
    /// Print a filled, fictional example of a signal, ready to be sent.
    #[command(
        before_long_help = "Examples:\n  seinpost template EXPLOITATION_SIGNAL > signal.json\n  seinpost template CONSULTATION | seinpost send - --dry-run"
    )]
    Template(Template),
    /// Check, seal, sign and submit a signal; its receipt is kept and its path printed.
    #[command(
        before_long_help = "Examples:\n  seinpost send signal.json --dry-run\n  seinpost send signal.json\n  seinpost template EXPLOITATION_SIGNAL | seinpost send -"
    )]
    Send(Send),
    /// Receive what waits for this address: verify, open, write a folder per signal.
    #[command(
        before_long_help = "Examples:\n  seinpost receive --show\n  seinpost receive --follow --into inbox --ack"
    )]
    Receive(Receive),
    /// Answer a received signal: readable.
    #[command(
        before_long_help = "Examples:\n  seinpost ack 019bd0f2-3c1a-7e55-8d10-6f0a4f2f9a11\n  seinpost ack 019bd0f2-3c1a --output json"
    )]
    Ack(Ack),
    /// Answer a received signal with a reason why not.
    #[command(
        before_long_help = "Examples:\n  seinpost reject 019bd0f2 NOT_COMPETENT\n  seinpost reject 019bd0f2 WRONG_RECIPIENT --better CERTIFIED_INSTITUTION"
    )]
    Reject(Reject),
    /// Show how far a signal is, step by step, with who said so.
    #[command(
        before_long_help = "Examples:\n  seinpost status 019bd0f2-3c1a\n  seinpost status 019bd0f2-3c1a --output json"
    )]
    Status(Status),
    /// List signals sent and received.
    #[command(
        before_long_help = "Examples:\n  seinpost list\n  seinpost list --waiting --received\n  seinpost list --output jsonl"
    )]
    List(List),
    /// Verify a receipt offline, and say what it proves and what it does not.
    #[command(
        before_long_help = "Examples:\n  seinpost verify state/receipts/019bd0f2-….receipt\n  seinpost verify theirs.receipt --profile auditor.toml --output json"
    )]
    Verify(Verify),
    /// Show which address a function has for a municipality, and under which rules it may be written to.
    #[command(
        before_long_help = "Examples:\n  seinpost route SAFE_HOME 0363\n  seinpost route SAFE_HOME 0363 --type CONSULTATION --output json"
    )]
    Route(Route),
    /// The covenant: who takes part, and by which rules.
    #[command(
        subcommand,
        before_long_help = "Examples:\n  seinpost covenant show\n  seinpost covenant show rules --filter SAFE_HOME\n  seinpost covenant verify new.covenant"
    )]
    Covenant(Covenant),
    /// List the covenant's code lists, or the codes of one.
    #[command(before_long_help = "Examples:\n  seinpost codes\n  seinpost codes indicator --lang nl")]
    Codes(Codes),
    /// The log: checkpoint, records, verification.
    #[command(subcommand, before_long_help = "Examples:\n  seinpost audit verify\n  seinpost audit records --from 100")]
    Audit(Audit),
    /// For operators: how deliveries fare.
    #[command(
        subcommand,
        before_long_help = "Examples:\n  seinpost ops deliveries --late\n  seinpost ops deliveries --limit 200 --output jsonl"
    )]
    Ops(Ops),
}

#[derive(Debug, Args)]
pub(super) struct Init {
    /// The hub's file, as its operator handed it out; compare its digest by telephone.
    #[arg(long, value_name = "FILE")]
    pub(super) hub: PathBuf,
    /// Address of the gateway.
    #[arg(long, value_name = "HOST:PORT")]
    pub(super) gateway: String,
    /// The function in which this profile acts.
    #[arg(long, value_name = "FUNCTION")]
    pub(super) function: String,
    /// Transport certificate, PEM, leaf first.
    #[arg(long, value_name = "FILE")]
    pub(super) tls_cert: PathBuf,
    /// Its private key, PKCS#8 PEM.
    #[arg(long, value_name = "FILE")]
    pub(super) tls_key: PathBuf,
    /// Signing certificate, PEM, leaf first.
    #[arg(long, value_name = "FILE")]
    pub(super) sign_cert: PathBuf,
    /// Its private key, PKCS#8 PEM.
    #[arg(long, value_name = "FILE")]
    pub(super) sign_key: PathBuf,
    /// Folder for the profile; it must not hold one yet.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    pub(super) into: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(super) enum Keys {
    /// Make a new sealing key for this address and publish it; old ones still open what was sealed to them.
    #[command(before_long_help = "Examples:\n  seinpost keys new\n  seinpost keys new --quiet")]
    New,
    /// Publish the signing certificate, and a first sealing key if there is none in force.
    #[command(before_long_help = "Examples:\n  seinpost keys publish\n  seinpost keys publish --output json")]
    Publish,
    /// List this address's sealing keys and until when they seal and open.
    #[command(before_long_help = "Examples:\n  seinpost keys list\n  seinpost keys list --absolute")]
    List,
}

#[derive(Debug, Args)]
pub(super) struct Template {
    /// Type of signal: EXPLOITATION_SIGNAL, CONSULTATION or CONSULTATION_ADVICE.
    #[arg(value_name = "TYPE")]
    pub(super) signal_type: String,
}

#[derive(Debug, Args)]
pub(super) struct Send {
    /// The signal, a JSON file; - for standard input.
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,
    /// Only check and resolve: who would be able to read it, under which rule.
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Use the citizen service number although the covenant does not list this function for it.
    #[arg(long)]
    pub(super) bsn_allowed: bool,
}

#[derive(Debug, Args)]
pub(super) struct Receive {
    /// Keep waiting for more.
    #[arg(long, short)]
    pub(super) follow: bool,
    /// Folder that gets a folder per signal; else the profile's inbox.
    #[arg(long, value_name = "FOLDER")]
    pub(super) into: Option<PathBuf>,
    /// Answer what could be opened as readable, after it was written.
    #[arg(long)]
    pub(super) ack: bool,
    /// Print the content on standard output.
    #[arg(long)]
    pub(super) show: bool,
    /// Begin at the first record that is still there instead of where this profile left off.
    #[arg(long)]
    pub(super) again: bool,
}

#[derive(Debug, Args)]
pub(super) struct Ack {
    /// Id of the signal, or its first characters where they are unique.
    pub(super) id: String,
}

#[derive(Debug, Args)]
pub(super) struct Reject {
    /// Id of the signal, or its first characters where they are unique.
    pub(super) id: String,
    /// The answer: UNREADABLE_KEY, WRONG_RECIPIENT, NOT_COMPETENT, EXCESS_DATA, PROFILE_VIOLATION, COMMITMENT_MISMATCH or DUPLICATE_OF.
    pub(super) code: String,
    /// With WRONG_RECIPIENT: the function whose task it is.
    #[arg(long, value_name = "FUNCTION")]
    pub(super) better: Option<String>,
    /// With DUPLICATE_OF: the earlier signal's id or digest.
    #[arg(long, value_name = "ID")]
    pub(super) duplicate_of: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Status {
    /// Id of a signal that was sent, or its first characters where they are unique; or an item's digest.
    pub(super) id: String,
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Only what still waits for an answer.
    #[arg(long)]
    pub(super) waiting: bool,
    /// Only what this address sent.
    #[arg(long, conflicts_with = "received")]
    pub(super) sent: bool,
    /// Only what this address received.
    #[arg(long)]
    pub(super) received: bool,
    /// Only this type.
    #[arg(long = "type", value_name = "TYPE")]
    pub(super) signal_type: Option<String>,
    /// At most so many rows.
    #[arg(long, default_value_t = 50, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) limit: u32,
}

#[derive(Debug, Args)]
pub(super) struct Verify {
    /// The receipt file.
    pub(super) receipt: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct Route {
    /// The function looked for.
    pub(super) function: String,
    /// Code of the municipality, four digits.
    pub(super) municipality: String,
    /// Type of signal that would be sent.
    #[arg(long = "type", value_name = "TYPE", default_value = "EXPLOITATION_SIGNAL")]
    pub(super) signal_type: String,
}

#[derive(Debug, Subcommand)]
pub(super) enum Covenant {
    /// Show the covenant in force: participants, routes, rules, lists.
    #[command(
        before_long_help = "Examples:\n  seinpost covenant show\n  seinpost covenant show routes --filter 0363\n  seinpost covenant show rules --filter SAFE_HOME"
    )]
    Show(CovenantShow),
    /// Verify a covenant file, or the one in force, against what this profile trusts.
    #[command(before_long_help = "Examples:\n  seinpost covenant verify\n  seinpost covenant verify new.covenant")]
    Verify(CovenantVerify),
}

#[derive(Debug, Args)]
pub(super) struct CovenantShow {
    /// Which part: summary, participants, routes, rules, profiles, clocks.
    #[arg(default_value = "summary")]
    pub(super) part: String,
    /// Only rows that hold this text.
    #[arg(long, value_name = "TEXT")]
    pub(super) filter: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct CovenantVerify {
    /// A covenant file; none: fetch the one in force.
    pub(super) file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct Codes {
    /// The list; none: all lists.
    pub(super) list: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Audit {
    /// Fetch the newest checkpoint and check that it extends what this profile saw.
    #[command(before_long_help = "Examples:\n  seinpost audit checkpoint\n  seinpost audit checkpoint --quiet")]
    Checkpoint,
    /// List records that this profile may see.
    #[command(
        before_long_help = "Examples:\n  seinpost audit records --from 100\n  seinpost audit records --from 0 --to 50 --output jsonl"
    )]
    Records(AuditRecords),
    /// Recompute the log from its commitments and check every record, signature and proof.
    #[command(
        before_long_help = "Examples:\n  seinpost audit verify --profile auditor.toml\n  seinpost audit verify --quiet && echo the log holds"
    )]
    Verify,
}

#[derive(Debug, Args)]
pub(super) struct AuditRecords {
    /// First index.
    #[arg(long, default_value_t = 0, value_name = "INDEX")]
    pub(super) from: u64,
    /// Index after the last; else the newest.
    #[arg(long, value_name = "INDEX")]
    pub(super) to: Option<u64>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Ops {
    /// List deliveries, oldest open first; what is late is marked, with whom to call.
    #[command(
        before_long_help = "Examples:\n  seinpost ops deliveries\n  seinpost ops deliveries --late --output json"
    )]
    Deliveries(OpsDeliveries),
}

#[derive(Debug, Args)]
pub(super) struct OpsDeliveries {
    /// Only those whose answer is late.
    #[arg(long)]
    pub(super) late: bool,
    /// At most so many rows.
    #[arg(long, default_value_t = 50, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) limit: u32,
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        super::command().debug_assert();
    }

    #[test]
    fn every_verb_has_at_least_two_examples_that_begin_with_its_own_words() {
        fn judge(command: &clap::Command, words: &str) {
            let help = command.get_before_long_help().map(ToString::to_string).unwrap_or_default();
            let examples = help.lines().filter(|line| line.contains(words)).count();
            // One example of a noun is of one of its verbs.
            assert!(examples >= 2, "{words}: {help}");
            command.get_subcommands().for_each(|below| judge(below, &format!("{words} {}", below.get_name())));
        }
        judge(&super::command(), "seinpost");
    }
}
