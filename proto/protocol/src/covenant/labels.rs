//! What people call a function, a type, a regime: words for refusals and screens.
//!
//! The codes are the contract; these words are not parsed by anybody and may become better.

use crate::wire::{Function, Purpose, Reference, SignalType, SourceRegime, Urgency};

/// Returns a function's label in English; bodies that go by a Dutch name keep it.
#[must_use]
pub fn function_label_en(function: Function) -> &'static str {
    match function {
        Function::Unspecified => "nobody",
        Function::PoliceOperations => "Police",
        Function::PoliceTrafficking => "Police AVIM",
        Function::RoyalMarechaussee => "Royal Marechaussee",
        Function::Prosecution => "Public Prosecution Service",
        Function::MunicipalityRequester => "Municipality (requests)",
        Function::MunicipalityNotices => "Municipality (notices)",
        Function::MunicipalityCareReports => "Municipality (care reports)",
        Function::Mayor => "Mayor",
        Function::SafeHome => "Veilig Thuis",
        Function::CertifiedInstitution => "Certified institution",
        Function::GuardianUnaccompanied => "Nidos",
        Function::ChildProtectionBoard => "Child Protection Board",
        Function::YouthCareProvider => "Youth care provider",
        Function::Shelter => "Shelter",
        Function::AsylumReception => "COA",
        Function::CareCoordinator => "Care coordinator",
        Function::CareSafetyHouse => "Care and Safety House",
        Function::SchoolAttendance => "School attendance office",
        Function::LabourInspectorate => "Labour Inspectorate",
        Function::ExpertCentre => "Expert centre",
        Function::VictimRegistry => "CoMensha",
        Function::Inspectorate => "Inspectorate",
        Function::Rapporteur => "National Rapporteur",
        Function::Operator => "Operator",
        Function::Auditor => "Auditor",
    }
}

/// Returns a function's label in Dutch.
#[must_use]
pub fn function_label_nl(function: Function) -> &'static str {
    match function {
        Function::Unspecified => "niemand",
        Function::PoliceOperations => "Politie",
        Function::PoliceTrafficking => "Politie AVIM",
        Function::RoyalMarechaussee => "Koninklijke Marechaussee",
        Function::Prosecution => "Openbaar Ministerie",
        Function::MunicipalityRequester => "Gemeente, verzoeken",
        Function::MunicipalityNotices => "Gemeente, notificaties",
        Function::MunicipalityCareReports => "Gemeente, zorgmeldingen",
        Function::Mayor => "Burgemeester",
        Function::SafeHome => "Veilig Thuis",
        Function::CertifiedInstitution => "Gecertificeerde instelling",
        Function::GuardianUnaccompanied => "Nidos",
        Function::ChildProtectionBoard => "Raad voor de Kinderbescherming",
        Function::YouthCareProvider => "Jeugdhulpaanbieder",
        Function::Shelter => "Opvang",
        Function::AsylumReception => "COA",
        Function::CareCoordinator => "Zorgcoördinator",
        Function::CareSafetyHouse => "Zorg- en Veiligheidshuis",
        Function::SchoolAttendance => "Leerplicht",
        Function::LabourInspectorate => "Arbeidsinspectie",
        Function::ExpertCentre => "Expertisecentrum",
        Function::VictimRegistry => "CoMensha",
        Function::Inspectorate => "Inspectie",
        Function::Rapporteur => "Nationaal Rapporteur",
        Function::Operator => "Beheerder",
        Function::Auditor => "Auditor",
    }
}

/// Returns a signal type's code as people and JSON write it, such as `CARE_REPORT`.
#[must_use]
pub fn signal_type_code(signal_type: SignalType) -> &'static str {
    short(signal_type.as_str_name(), "SIGNAL_TYPE_")
}

/// Returns a source regime's code, such as `WPG_8`.
#[must_use]
pub fn regime_code(regime: SourceRegime) -> &'static str {
    short(regime.as_str_name(), "SOURCE_REGIME_")
}

/// Returns a purpose's code, such as `PROTECT_CHILD`.
#[must_use]
pub fn purpose_code(purpose: Purpose) -> &'static str {
    short(purpose.as_str_name(), "PURPOSE_")
}

/// Returns an urgency's code, such as `IMMEDIATE`.
#[must_use]
pub fn urgency_code(urgency: Urgency) -> &'static str {
    short(urgency.as_str_name(), "URGENCY_")
}

/// Returns what a required reference is the number of.
pub(super) fn reference_noun(reference: Reference) -> &'static str {
    match reference {
        Reference::Unspecified | Reference::None => "reference",
        Reference::Decision => "decision",
        Reference::Consent => "consent",
        Reference::Order => "order",
    }
}

fn short(name: &'static str, prefix: &str) -> &'static str {
    name.strip_prefix(prefix).unwrap_or(name)
}
