//! The first agencies of a world: who has usable keys, of which kinds, and what is written for each.
//!
//! A dozen of the country's thousands: those that `dev` and the tests act as. All others are bound to hashes of keys that
//! nobody has. In comes the plan, out go keys, certificates and a profile per identity.

use std::path::Path;

use seinpost_protocol::address::{Address, Function, Oin, function_code};
use seinpost_protocol::wire;

use super::credentials::{request, save_credentials};
use crate::covenant::{self, AgencyKey};
use crate::fault::Fault;
use crate::key::{Key, KeyKind};
use crate::pki::{Hierarchy, Usage, Validity};

/// An agency in one function, with usable keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its name, such as `police-amsterdam`.
    pub name: &'static str,
    /// Its address.
    pub address: Address,
}

/// The identity whose function has no bound keys: any key with a good certificate of its OIN may act in it.
pub const UNBOUND: &str = "certified-institution";

/// Who has usable keys.
pub(super) struct Plan {
    pub(super) name: &'static str,
    kind: u32,
    number: u32,
    function: Function,
    transport: KeyKind,
    signing: KeyKind,
    pub(super) bound: bool,
}

const fn plan(name: &'static str, kind: u32, number: u32, function: Function, signing: KeyKind) -> Plan {
    Plan { name, kind, number, function, transport: KeyKind::P256, signing, bound: true }
}

pub(super) const PLANS: [Plan; 12] = [
    plan("police-amsterdam", 20, 5, Function::PoliceOperations, KeyKind::Ed25519),
    plan("safe-home-amsterdam", 40, 13, Function::SafeHome, KeyKind::P256),
    // Two functions of one town hall: neither may open what is for the other.
    plan("youth-care-amsterdam", 10, 363, Function::MunicipalityCareReports, KeyKind::Ed25519),
    plan("mayor-amsterdam", 10, 363, Function::Mayor, KeyKind::P256),
    plan("prosecution-amsterdam", 22, 5, Function::Prosecution, KeyKind::Ed25519),
    plan("shelter", 51, 13, Function::Shelter, KeyKind::Ed25519),
    plan("child-protection", 30, 5, Function::ChildProtectionBoard, KeyKind::P256),
    Plan { transport: KeyKind::Rsa3072, ..plan("guardian", 32, 1, Function::GuardianUnaccompanied, KeyKind::Rsa3072) },
    Plan { bound: false, ..plan(UNBOUND, 31, 7, Function::CertifiedInstitution, KeyKind::Ed25519) },
    plan("expert-centre", 61, 1, Function::ExpertCentre, KeyKind::Ed25519),
    plan("operator", 90, 1, Function::Operator, KeyKind::Ed25519),
    plan("auditor", 91, 1, Function::Auditor, KeyKind::Ed25519),
];

impl Plan {
    pub(super) fn address(&self) -> Address {
        let oin = covenant::oin(self.kind, self.number).expect("the kinds of the plans have two digits");
        Address { oin, function: self.function }
    }
}

/// The keys of one identity while a world is made.
pub(super) struct Keys {
    pub(super) plan: &'static Plan,
    pub(super) address: Address,
    transport: Key,
    signing: Key,
}

impl Keys {
    pub(super) fn generate(plan: &'static Plan) -> Result<Self, Fault> {
        Ok(Self {
            plan,
            address: plan.address(),
            transport: Key::generate(plan.transport)?,
            signing: Key::generate(plan.signing)?,
        })
    }

    pub(super) fn bound(&self) -> Vec<AgencyKey> {
        let key = |used_for, key: &Key| AgencyKey { address: self.address, used_for, spki_sha256: key.spki_sha256() };
        let all = vec![key(wire::Use::Transport, &self.transport), key(wire::Use::Signing, &self.signing)];
        if self.plan.bound { all } else { Vec::new() }
    }

    pub(super) fn save(
        &self,
        folder: &Path,
        message: &wire::Covenant,
        transport: &Hierarchy,
        signing: &Hierarchy,
        validity: Validity,
    ) -> Result<(), Fault> {
        let folder = folder.join("identities").join(self.plan.name);
        let request = |usage| request(message, self.address.oin, self.plan.name, usage, validity);
        let tls = transport.issue(&request(Usage::Client), &self.transport)?;
        save_credentials(&folder, "tls", &tls.to_pem(), &self.transport)?;
        let signed = signing.issue(&request(Usage::Signing), &self.signing)?;
        save_credentials(&folder, "signing", &signed.to_pem(), &self.signing)
    }
}

pub(super) fn unbound_oin() -> Oin {
    let plan = PLANS.iter().find(|plan| !plan.bound).expect("one of the plans is unbound");
    plan.address().oin
}

pub(super) fn profile_toml(name: &str, gateway: &str, address: Address) -> String {
    let folder = format!("../identities/{name}");
    format!(
        "# {name}: who one is at the development hub.\n\
         gateway = \"{gateway}\"\n\
         hub = \"../hub.toml\"\n\
         oin = \"{}\"\n\
         function = \"{}\"\n\
         tls_certificate = \"{folder}/tls.pem\"\n\
         tls_key = \"{folder}/tls.key\"\n\
         signing_certificate = \"{folder}/signing.pem\"\n\
         signing_key = \"{folder}/signing.key\"\n\
         state = \"{folder}/state\"\n",
        address.oin,
        function_code(address.function),
    )
}
