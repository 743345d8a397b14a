//! What a world writes for the hub: its configuration, log key, certificate and hub file, revocation lists, and the draft
//! of the first covenant. The hub reads all of it, and owns none of the keys of registrars or agencies.

use std::time::Duration;

use seinpost_protocol::checkpoint::LogKey;
use seinpost_protocol::hub::{Hub, HubFile};
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::wire;

use super::credentials::{request, save_credentials};
use super::identities::PLANS;
use super::{CERTIFICATE_DAYS, COVENANT_DAYS, Options, REGISTRARS, THRESHOLD, World, digest};
use crate::covenant::draft_file::{AddressText, DraftFile, KeyText};
use crate::covenant::hub_oin;
use crate::fault::Fault;
use crate::files;
use crate::key::{Key, KeyKind};
use crate::pki::{Usage, Validity};

impl World {
    /// Writes what the hub needs: configuration, log key, transport certificate, covenant, revocation lists.
    pub(super) fn save_hub(
        &self,
        message: &wire::Covenant,
        options: &Options,
        log_key: &Key,
        certificates: Validity,
    ) -> Result<(), Fault> {
        let hub = self.hub_folder();
        for name in ["tls", "covenants", "crls"] {
            files::make_folder(&hub.join(name))?;
        }
        let server_key = Key::generate(KeyKind::P256)?;
        let server = self
            .transport
            .issue(&request(message, hub_oin(), "localhost", Usage::Server, certificates), &server_key)?;
        save_credentials(&hub.join("tls"), "server", &server.to_pem(), &server_key)?;
        files::write_secret(&hub.join("log.key"), log_key.to_pem().as_bytes())?;
        self.save_covenant(&self.covenant)?;
        self.write_crls(Validity::days(options.now - Duration::from_secs(3600), COVENANT_DAYS))?;

        let log_key = LogKey::new(log_key.ed25519_public().expect("the log's key is Ed25519"));
        let file = HubFile::write(&Hub {
            origin: options.origin.clone(),
            hub_oin: hub_oin(),
            test: true,
            threshold: THRESHOLD,
            registrars: message.registrars.clone(),
            covenant_serial: message.serial,
            covenant_digest: digest(&self.covenant),
            log_keys: vec![log_key],
            transport_roots: message.transport_roots.iter().map(|root| root.der.clone()).collect(),
        });
        let file = file.map_err(|faults| {
            let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
            Fault::data("hub.toml", faults.join("; "))
        })?;
        files::write_new(&hub.join("hub.toml"), file.to_toml())?;
        files::write_new(&self.folder.join("hub.toml"), file.to_toml())?;
        files::write_new(&hub.join("gateway.toml"), gateway_toml(options))
    }

    /// Writes the draft of the first covenant, `covenant.toml`: who changes it and builds again has the next one.
    pub(super) fn save_draft(&self, start: Timestamp, log_key: &LogKey) -> Result<(), Fault> {
        let keys = PLANS.iter().filter(|plan| plan.bound).flat_map(|plan| {
            let certificate = |stem: &str| format!("identities/{}/{stem}.pem", plan.name);
            [
                KeyText::new(plan.address(), wire::Use::Transport, certificate("tls")),
                KeyText::new(plan.address(), wire::Use::Signing, certificate("signing")),
            ]
        });
        let draft = DraftFile {
            log_origin: self.origin.clone(),
            serial: 1,
            previous: None,
            valid_from: start.to_string(),
            days: COVENANT_DAYS,
            threshold: THRESHOLD,
            registrars: REGISTRARS.iter().map(|(name, _)| format!("registrars/{name}/registrar.toml")).collect(),
            transport_roots: vec!["ca/transport/root.pem".to_owned()],
            signing_roots: vec!["ca/signing/root.pem".to_owned()],
            log_keys: vec![log_key.vkey(&self.origin)],
            keys_valid_from: start.to_string(),
            keys_days: CERTIFICATE_DAYS,
            keys: keys.collect(),
            unbound: PLANS.iter().filter(|plan| !plan.bound).map(|plan| AddressText::new(plan.address())).collect(),
        };
        let text = toml::to_string(&draft).expect("texts and numbers are TOML");
        let head = "# The first covenant of this world. For the next one: raise `serial`, name the one before in `previous`\n\
                    # (\"hub/covenants/0001.covenant\"), and let seinpost-certs covenant build and sign it.\n";
        files::write_new(&self.folder.join("covenant.toml"), format!("{head}{text}"))
    }

    pub(super) fn write_crls(&self, validity: Validity) -> Result<(), Fault> {
        for (name, hierarchy) in [("transport", &self.transport), ("signing", &self.signing)] {
            let [root, issuing] = hierarchy.crls(validity)?;
            let folder = self.hub_folder().join("crls");
            files::replace(&folder.join(format!("{name}-root.crl")), root)?;
            files::replace(&folder.join(format!("{name}-issuing.crl")), issuing)?;
        }
        Ok(())
    }
}

fn gateway_toml(options: &Options) -> String {
    format!(
        "# The development hub. `seinpost-gateway init` shows every key with its meaning.\n\
         listen = \"{}\"\n\
         metrics = \"{}\"\n\
         data = \"data\"\n\
         \n\
         [log]\n\
         origin = \"{}\"\n\
         key = \"log.key\"\n\
         \n\
         [tls]\n\
         certificate = \"tls/server.pem\"\n\
         key = \"tls/server.key\"\n\
         \n\
         [covenant]\n\
         hub = \"hub.toml\"\n\
         folder = \"covenants\"\n\
         \n\
         [crl]\n\
         folder = \"crls\"\n\
         \n\
         [limits]\n\
         # Small, so that a fresh hub is there at once.\n\
         segment = \"20MiB\"\n",
        options.listen, options.metrics, options.origin,
    )
}
