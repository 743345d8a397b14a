//! What `dev` does before and after the story: keys for the agencies, commands for the reader.

use std::io::IsTerminal as _;
use std::path::Path;

use seinpost_certs::world::World;
use seinpost_client::client::Client;
use seinpost_client::keys::Windows;
use seinpost_client::profile::Profile;
use seinpost_protocol::address::Function;
use seinpost_protocol::key_statement::State;

use super::story::Told;
use super::{Failure, shell_word};
use crate::config::Config;
use crate::log::LogSigner;
use crate::serve::Running;

/// Returns the log's verifier key, as C2SP writes it.
pub(super) fn vkey(config: &Config) -> Result<String, Failure> {
    let signer = LogSigner::from_pkcs8_pem(&std::fs::read_to_string(&config.log_key)?, &config.origin)?;
    Ok(signer.key().vkey(signer.origin()))
}

/// Opens the client of one of the world's identities.
pub(super) fn client(world: &World, identity: &str) -> Result<Client, Failure> {
    Ok(Client::open(Profile::load(&world.profile(identity))?)?)
}

/// Publishes a signing certificate and a sealing key for every agency that has none in force.
pub(super) async fn publish_keys(world: &World) -> Result<(), Failure> {
    let agencies: Vec<_> = world
        .identities()
        // Who looks after the hub neither sends nor receives.
        .filter(|identity| !matches!(identity.address.function, Function::Operator | Function::Auditor))
        .collect();
    // Whoever watches sees it go on; whoever reads a file finds one line and not a line per agency.
    let watched = std::io::stderr().is_terminal();
    if !watched {
        eprintln!("publishing the keys of {} agencies", agencies.len());
    }
    for (done, identity) in agencies.iter().enumerate() {
        if watched {
            eprint!("\rpublishing keys: {} of {}   ", done + 1, agencies.len());
        }
        let client = client(world, identity.name)?;
        client.refresh_covenant().await?;
        client.publish_certificate().await?;
        let now = client.now();
        let in_force = client.sealing_keys().list()?.iter().any(|own| {
            own.has_private_key && matches!(own.statement.state, State::Windowed { seal_until, .. } if seal_until > now)
        });
        if !in_force {
            client.publish_key(Windows::default()).await?;
        }
    }
    if watched {
        eprintln!();
    }
    Ok(())
}

/// Prints what the reader can try now, as each of the three kinds of people; every line works as pasted.
pub(super) fn print_commands(world: &World, running: &Running, log: &Path, told: Option<&Told>) {
    tell!("\nThe hub serves at {} and keeps serving until you press Ctrl-C.", running.address());
    tell!("Its log goes to {}.", log.display());
    tell!("In another terminal:\n");
    tell!("  . {}\n", shell_word(&world.folder().join("env.sh")));
    tell!("  # as an agency");
    tell!("  as police-amsterdam seinpost template EXPLOITATION_SIGNAL > signal.json");
    tell!("  as police-amsterdam seinpost send signal.json --dry-run");
    tell!("  as police-amsterdam seinpost send signal.json");
    tell!("  as safe-home-amsterdam seinpost receive --show --ack");
    tell!("  as police-amsterdam seinpost list");
    if let Some(told) = told {
        tell!("  as police-amsterdam seinpost status {}", told.signal);
        tell!("  as police-amsterdam seinpost verify {}", shell_word(&told.receipt));
    }
    tell!("  as police-amsterdam seinpost check\n");
    tell!("  # as an operator");
    tell!("  as operator seinpost ops deliveries");
    if let Some(metrics) = running.metrics_address() {
        tell!("  curl -s http://{metrics}/metrics");
    }
    tell!("\n  # as an auditor");
    tell!("  as auditor seinpost audit verify");
    tell!("  as auditor seinpost covenant show rules --filter SAFE_HOME\n");
}
