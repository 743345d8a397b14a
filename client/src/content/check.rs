//! The content check that sending and receiving call: the library seals and opens opaque bytes, and asks here.

use bytes::Bytes;
use seinpost_protocol::content::{self, FAULTS_MAX, FieldFault};
use seinpost_protocol::wire;

use super::{Unfit, faults_against, read};
use crate::error::Fault;
use crate::send::{ContentCheck, ContentContext, ContentFault};

/// Checks contents of this version's types.
#[derive(Debug, Clone, Copy, Default)]
pub struct Check {
    /// A person said that the citizen service number may be used although the covenant does not list the function.
    pub bsn_allowed: bool,
}

impl ContentCheck for Check {
    fn before_sealing(&self, bytes: &[u8], context: &ContentContext<'_>) -> Result<(), Vec<Fault>> {
        let content = content::decode(&Bytes::copy_from_slice(bytes)).map_err(|fault| vec![fault.into()])?;
        let bsn_allowed = self.bsn_allowed || context.covenant.may_use_bsn(context.from);
        let codes = |list: &str, code: &str| context.covenant.code(list, code).is_some();
        let mut faults = content::check(&content, &codes, bsn_allowed);
        for fault in &mut faults {
            fault.field = format!("content.{}", fault.field);
        }
        faults.extend(faults_against(&content, context.profile));
        if faults.is_empty() { Ok(()) } else { Err(faults.into_iter().map(Fault::from).collect()) }
    }

    fn after_opening(&self, bytes: &[u8], context: &ContentContext<'_>) -> Result<(), ContentFault> {
        let codes = |list: &str, code: &str| context.covenant.code(list, code).is_some();
        match read(&Bytes::copy_from_slice(bytes), context.profile, &codes) {
            Ok(_) => Ok(()),
            Err(Unfit::Excess(excess)) => Err(ContentFault {
                answer: wire::AnswerCode::ExcessData,
                faults: excess
                    .into_iter()
                    .take(FAULTS_MAX)
                    .map(|departure| {
                        Fault::new(departure.path, format!("more than the profile {} allows", context.profile.name))
                    })
                    .collect(),
            }),
            Err(Unfit::Violation(faults)) => Err(ContentFault {
                answer: wire::AnswerCode::ProfileViolation,
                faults: faults.into_iter().map(Fault::from).collect(),
            }),
        }
    }
}

impl From<FieldFault> for Fault {
    fn from(fault: FieldFault) -> Self {
        Self::new(fault.field, fault.wrong).hint(fault.allowed)
    }
}
