//! What the rules permit, and what a refusal says that would do.

use super::*;

fn intent<'a>(signal_type: T, recipients: &[(Address, &'a str)]) -> Intent<'a> {
    let recipients = recipients.iter().map(|(address, legal_basis)| IntentRecipient {
        address: *address,
        legal_basis,
        has_reference: false,
        municipality: None,
    });
    Intent {
        from: F::PoliceOperations,
        signal_type,
        recipients: recipients.collect(),
        source_regime: R::Wpg8,
        purpose: Purpose::ProtectChild,
        urgency: Urgency::Normal,
        supersedes: false,
        profile: None,
        signed_at: at(BEGIN),
    }
}

fn with_profile<'a>(covenant: &Covenant, name: &'a str, version: u32) -> Option<IntentProfile<'a>> {
    Some(IntentProfile { name, version, sha256: covenant.profile_sha256(name, version).unwrap() })
}

fn vt() -> Address {
    address(SAFE_HOME, F::SafeHome)
}

fn mayor() -> Address {
    address(TOWN, F::Mayor)
}

#[track_caller]
fn refused(intent: &Intent<'_>, reason: Refusal, recipient: usize, nearest: Option<&str>, message: &str) {
    let refused = covenant().permit_intent(intent).unwrap_err();
    assert_eq!(
        (refused.reason, refused.recipient, refused.nearest_rule.as_deref()),
        (reason, recipient, nearest),
        "{refused}"
    );
    assert_eq!(refused.message, message);
}

#[test]
fn a_permit_names_covenant_rule_and_profile() {
    let covenant = covenant();
    let mut intent = intent(T::ExploitationSignal, &[(vt(), "BPG_4_2_1_I")]);
    let permit = covenant.permit_intent(&intent).unwrap();
    assert_eq!(permit.covenant, covenant.digest());
    assert_eq!(permit.recipients[0].rule_id, "bpg-vt");
    assert_eq!(permit.profile, ("EX".to_owned(), 2), "the highest version of the type's own");
    assert_eq!(covenant.profile_for(&permit).unwrap().name, "EX");
    intent.profile = with_profile(&covenant, "EX", 1);
    assert_eq!(covenant.permit_intent(&intent).unwrap().profile, ("EX".to_owned(), 1));
}

#[test]
fn a_permit_says_whether_a_route_leads_to_the_recipient() {
    let covenant = covenant();
    let routed = |municipality, at| {
        let mut intent = intent(T::CareReport, &[(vt(), "BPG_4_2_1_I")]);
        intent.recipients[0].municipality = municipality;
        intent.signed_at = at;
        covenant.permit_intent(&intent).unwrap().recipients[0].routed
    };
    assert!(routed(Some("0363"), at(BEGIN)));
    assert!(!routed(None, at(BEGIN)));
    assert!(!routed(Some("0457"), at(BEGIN)), "another municipality's");
    assert!(!routed(Some("0363"), at(1_798_758_000_000)), "the row is over on the day of signing");
}

#[test]
fn a_route_may_lead_to_another_function() {
    let mut message = message();
    let zof = address(TOWN, F::MunicipalityCareReports);
    message.routes.insert(0, route(F::SafeHome, "0400", zof, "2026-01-01", ""));
    let covenant = covenant_of(&message);
    assert_eq!(covenant.resolve(F::SafeHome, "0400", T::CareReport, at(BEGIN)), Ok(zof));
    let mut intent = intent(T::CareReport, &[(zof, "BPG_4_2_1_I")]);
    intent.recipients[0].municipality = Some("0400");
    assert!(covenant.permit_intent(&intent).unwrap().recipients[0].routed);
}

#[test]
fn who_takes_no_part_receives_nothing() {
    let mut message = message();
    message.participants[1].suspended = true;
    let intent = intent(T::CareReport, &[(vt(), "BPG_4_2_1_I")]);
    let suspended = covenant_of(&message).permit_intent(&intent).unwrap_err();
    message.participants.remove(1);
    let unknown = covenant_of(&message).permit_intent(&intent).unwrap_err();
    assert_eq!(suspended, unknown, "unknown and suspended are one answer");
    assert_eq!(suspended.reason, Refusal::NoRoute);
}

#[test]
fn a_refusal_says_what_would_do() {
    let mut care_report = intent(T::CareReport, &[(vt(), "BPG_4_2_1_I")]);
    care_report.source_regime = R::Wpg9;
    refused(
        &care_report,
        Refusal::BasisRegime,
        0,
        Some("bpg-vt"),
        "Police may send CARE_REPORT to Veilig Thuis on BPG_4_2_1_I (regime WPG_8 or WPG_13), or on WPG_19 (needs \
         basis_reference: the number of the decision). You gave BPG_4_2_1_I with WPG_9. [BASIS_REGIME]",
    );
    care_report.recipients[0].legal_basis = "WPG_19";
    refused(
        &care_report,
        Refusal::BasisReference,
        0,
        Some("wpg-19"),
        "Police may send CARE_REPORT to Veilig Thuis on BPG_4_2_1_I (regime WPG_8 or WPG_13), or on WPG_19 (needs \
         basis_reference: the number of the decision). You gave WPG_19 without basis_reference. [BASIS_REFERENCE]",
    );
    care_report.recipients[0].has_reference = true;
    assert_eq!(covenant().permit_intent(&care_report).unwrap().recipients[0].rule_id, "wpg-19");
    care_report.recipients[0].legal_basis = "JW_2_3";
    refused(
        &care_report,
        Refusal::Basis,
        0,
        Some("bpg-vt"),
        "Police may send CARE_REPORT to Veilig Thuis on BPG_4_2_1_I (regime WPG_8 or WPG_13), or on WPG_19. You gave \
         JW_2_3. [BASIS]",
    );
}

#[test]
fn each_column_that_fails_is_named() {
    let mut to_mayor = intent(T::ExploitationSignal, &[(mayor(), "WPG_16_1_C")]);
    refused(
        &to_mayor,
        Refusal::BasisPurpose,
        0,
        Some("mayor"),
        "Police may send EXPLOITATION_SIGNAL to Mayor on WPG_16_1_C (purpose PUBLIC_ORDER). You gave WPG_16_1_C for \
         PROTECT_CHILD. [BASIS_PURPOSE]",
    );
    to_mayor.purpose = Purpose::PublicOrder;
    let covenant = covenant();
    to_mayor.profile = with_profile(&covenant, "EX", 1);
    refused(
        &to_mayor,
        Refusal::BasisProfile,
        0,
        Some("mayor"),
        "Police may send EXPLOITATION_SIGNAL to Mayor on WPG_16_1_C (profile EX-MAYOR 1). You gave WPG_16_1_C with \
         profile EX 1. [BASIS_PROFILE]",
    );
    to_mayor.profile = with_profile(&covenant, "EX-MAYOR", 1);
    assert!(covenant.permit_intent(&to_mayor).is_ok());
    to_mayor.profile.as_mut().unwrap().sha256 = Digest::of(b"another covenant's");
    refused(
        &to_mayor,
        Refusal::BasisProfile,
        0,
        Some("mayor"),
        "Police may send EXPLOITATION_SIGNAL to Mayor on WPG_16_1_C (profile EX-MAYOR 1). You gave WPG_16_1_C with \
         profile EX-MAYOR 1, whose digest is another in this covenant. [BASIS_PROFILE]",
    );

    let mut danger = intent(T::ExploitationSignal, &[(address(POLICE, F::PoliceOperations), "VITAL_INTEREST")]);
    (danger.from, danger.source_regime) = (F::SafeHome, R::Wmo);
    refused(
        &danger,
        Refusal::BasisUrgency,
        0,
        Some("vital"),
        "Veilig Thuis may send EXPLOITATION_SIGNAL to Police on VITAL_INTEREST (urgency IMMEDIATE). You gave \
         VITAL_INTEREST as NORMAL. [BASIS_URGENCY]",
    );
    danger.urgency = Urgency::Immediate;
    assert!(covenant.permit_intent(&danger).is_ok());

    let mut correction = intent(T::Correction, &[(vt(), "WPG_30")]);
    refused(
        &correction,
        Refusal::BasisSupersedes,
        0,
        Some("correction"),
        "Police may send CORRECTION to Veilig Thuis on WPG_30 (needs supersedes: the signal that it changes). You \
         gave WPG_30 without supersedes. [BASIS_SUPERSEDES]",
    );
    correction.supersedes = true;
    assert!(covenant.permit_intent(&correction).is_ok());
}

#[test]
fn a_pair_without_a_row_is_told_what_it_has() {
    refused(
        &intent(T::CareReport, &[(mayor(), "BPG_4_2_1_I")]),
        Refusal::NoRule,
        0,
        None,
        "Police may not send CARE_REPORT to Mayor on any basis. To Mayor it may send EXPLOITATION_SIGNAL or \
         CORRECTION. CARE_REPORT it may send to Municipality (care reports) or Veilig Thuis. [NO_RULE]",
    );
    refused(
        &intent(T::Consultation, &[(address(GUARDIAN, F::CertifiedInstitution), "X")]),
        Refusal::NoRule,
        0,
        None,
        "Police may not send CONSULTATION to Certified institution on any basis. [NO_RULE]",
    );
}

#[test]
fn the_nearest_row_is_the_one_that_fails_last() {
    let mut message = message();
    let mut near = message.rules[0].clone();
    near.id = "nearer".to_owned();
    near.urgencies = numbers(&[Urgency::Immediate]);
    near.regimes = numbers(&[R::Wpg9]);
    message.rules.push(near);
    let covenant = covenant_of(&message);
    let mut intent = intent(T::CareReport, &[(vt(), "BPG_4_2_1_I")]);
    intent.source_regime = R::Wpg9;
    let refused = covenant.permit_intent(&intent).unwrap_err();
    assert_eq!((refused.reason, refused.nearest_rule.as_deref()), (Refusal::BasisUrgency, Some("nearer")));
    intent.source_regime = R::Wpg10;
    let refused = covenant.permit_intent(&intent).unwrap_err();
    assert_eq!(refused.nearest_rule.as_deref(), Some("bpg-vt"), "of equals the first in the document");
}

#[test]
fn the_first_recipient_without_a_row_is_named() {
    let mut two = intent(T::CareReport, &[(vt(), "BPG_4_2_1_I"), (mayor(), "WPG_16_1_C")]);
    let refused = covenant().permit_intent(&two).unwrap_err();
    assert_eq!((refused.reason, refused.recipient), (Refusal::NoRule, 1), "though no profile was given");
    two.recipients.swap(0, 1);
    assert_eq!(covenant().permit_intent(&two).unwrap_err().recipient, 0);
    two.recipients.clear();
    assert_eq!(covenant().permit_intent(&two).unwrap_err().reason, Refusal::NoRoute, "nobody is nobody known");
}

#[test]
fn recipients_whose_profiles_differ_need_two_signals() {
    let covenant = covenant();
    let mut both = intent(T::ExploitationSignal, &[(vt(), "BPG_4_2_1_I"), (mayor(), "WPG_16_1_C")]);
    both.purpose = Purpose::PublicOrder;
    for (profile, recipient, nearest) in [
        (with_profile(&covenant, "EX", 1), 1, "mayor"),
        (with_profile(&covenant, "EX-MAYOR", 1), 0, "bpg-vt"),
        (None, 0, "bpg-vt"),
    ] {
        both.profile = profile;
        let refused = covenant.permit_intent(&both).unwrap_err();
        assert_eq!(
            (refused.reason, refused.recipient, refused.nearest_rule.as_deref()),
            (Refusal::ProfileSplit, recipient, Some(nearest))
        );
        assert!(refused.message.contains("No one profile serves all recipients: send two signals."), "{refused}");
    }
    // Without a row apart from the profile for each, two signals would not do either.
    both.purpose = Purpose::ProtectChild;
    both.profile = with_profile(&covenant, "EX", 1);
    assert_eq!(covenant.permit_intent(&both).unwrap_err().reason, Refusal::BasisPurpose);
}

#[test]
fn a_profile_that_some_row_serves_for_all_is_no_split() {
    let covenant = covenant();
    let mut two = intent(
        T::ExploitationSignal,
        &[(vt(), "BPG_4_2_1_I"), (address(TOWN, F::MunicipalityCareReports), "BPG_4_2_1_I")],
    );
    two.profile = with_profile(&covenant, "EX-MAYOR", 1);
    assert_eq!(covenant.permit_intent(&two).unwrap_err().reason, Refusal::BasisProfile);
    two.profile = Some(IntentProfile { name: "CR", version: 1, sha256: covenant.profile_sha256("CR", 1).unwrap() });
    let refused = covenant.permit_intent(&two).unwrap_err();
    assert_eq!(refused.reason, Refusal::BasisProfile, "a profile of another type");
}

#[test]
fn a_row_takes_only_profiles_of_the_signals_type() {
    let mut message = message();
    message.rules[0].profiles = vec!["CR".to_owned()];
    let covenant = covenant_of(&message);
    let care_report = intent(T::CareReport, &[(vt(), "BPG_4_2_1_I")]);
    assert_eq!(covenant.permit_intent(&care_report).unwrap().profile.0, "CR");
    let exploitation = intent(T::ExploitationSignal, &[(vt(), "BPG_4_2_1_I")]);
    let refused = covenant.permit_intent(&exploitation).unwrap_err();
    assert_eq!(refused.reason, Refusal::BasisProfile);
    assert!(refused.message.contains("on BPG_4_2_1_I (no profile serves it)"), "{refused}");
    // CR is named by a rule now, so it is no type's own any more.
    let zof = intent(T::CareReport, &[(address(TOWN, F::MunicipalityCareReports), "BPG_4_2_1_I")]);
    assert_eq!(covenant.permit_intent(&zof).unwrap_err().reason, Refusal::BasisProfile);
}

#[test]
fn a_refusal_stays_short_whatever_the_covenant_holds() {
    let mut message = message();
    for number in 0..200 {
        let mut rule = message.rules[0].clone();
        rule.id = format!("more-{number}");
        rule.legal_basis = format!("MORE_{number}");
        message.rules.push(rule);
    }
    let intent = intent(T::CareReport, &[(vt(), "NONE")]);
    let refused = covenant_of(&message).permit_intent(&intent).unwrap_err();
    assert!(refused.message.len() < 1_100, "{}", refused.message.len());
    assert!(refused.message.contains(" …") && refused.message.ends_with(" [BASIS]"), "{refused}");
}

#[test]
fn every_cell_holds_the_rows_that_a_slow_reader_finds() {
    let mut message = message();
    for number in 0..130 {
        let mut rule = message.rules[number % 6].clone();
        rule.id = format!("more-{number}");
        message.rules.push(rule);
    }
    let covenant = covenant_of(&message);
    let mut cells = 0;
    for cell in covenant.cells() {
        let slow = message.rules.iter().filter(|rule| {
            rule.types().any(|it| it == cell.signal_type)
                && rule.from().any(|it| it == cell.from)
                && rule.to().any(|it| it == cell.to)
        });
        assert!(slow.eq(cell.rules.iter().copied()), "{cell:?}");
        cells += 1;
    }
    assert_eq!(cells, 22 * 25 * 25);
}

#[test]
fn invariants_can_be_asked_of_every_cell() {
    let covenant = covenant();
    assert!(covenant.cells().flat_map(|cell| cell.rules).all(|rule| !rule.legal_basis.is_empty()));
    assert!(covenant.cells().filter(|cell| cell.to == F::Rapporteur).all(|cell| cell.rules.is_empty()));
    let to_mayor: Vec<_> = covenant
        .cells()
        .filter(|cell| cell.to == F::Mayor && !cell.rules.is_empty())
        .map(|cell| (cell.signal_type, cell.from))
        .collect();
    let police = F::PoliceOperations;
    let kmar = F::RoyalMarechaussee;
    let (ex, cx) = (T::ExploitationSignal, T::Correction);
    assert_eq!(to_mayor, [(ex, police), (ex, kmar), (cx, police), (cx, kmar)]);
}
