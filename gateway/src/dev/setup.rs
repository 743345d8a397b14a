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
    println!("\nThe hub serves at {} and keeps serving until you press Ctrl-C.", running.address());
    println!("Its log goes to {}.", log.display());
    println!("In another terminal:\n");
    println!("  . {}\n", shell_word(&world.folder().join("env.sh")));
    println!("  # as an agency");
    println!("  as police-amsterdam seinpost template EXPLOITATION_SIGNAL > signal.json");
    println!("  as police-amsterdam seinpost send signal.json --dry-run");
    println!("  as police-amsterdam seinpost send signal.json");
    println!("  as safe-home-amsterdam seinpost receive --show --ack");
    println!("  as police-amsterdam seinpost list");
    if let Some(told) = told {
        println!("  as police-amsterdam seinpost status {}", told.signal);
        println!("  as police-amsterdam seinpost verify {}", shell_word(&told.receipt));
    }
    println!("  as police-amsterdam seinpost check\n");
    println!("  # as an operator");
    println!("  as operator seinpost ops deliveries");
    if let Some(metrics) = running.metrics_address() {
        println!("  curl -s http://{metrics}/metrics");
    }
    println!("\n  # as an auditor");
    println!("  as auditor seinpost audit verify");
    println!("  as auditor seinpost covenant show rules --filter SAFE_HOME\n");
}
