//! Which address has a municipality's mail on a day.

use super::*;

fn to(covenant: &Covenant, function: F, municipality: &str) -> Option<Address> {
    covenant.resolve(function, municipality, T::ExploitationSignal, at(BEGIN)).ok()
}

#[test]
fn a_row_comes_before_a_municipalitys_own_function() {
    let covenant = covenant();
    assert_eq!(to(&covenant, F::SafeHome, "0363"), Some(address(SAFE_HOME, F::SafeHome)));
    assert_eq!(to(&covenant, F::Mayor, "0363"), Some(address(TOWN, F::Mayor)));
    let merged = Some(address(TOWN, F::MunicipalityCareReports));
    assert_eq!(to(&covenant, F::MunicipalityCareReports, "0457"), merged, "a municipality that was merged");
}

#[test]
fn who_takes_no_part_is_no_address() {
    let covenant = covenant();
    assert_eq!(to(&covenant, F::Shelter, "0457"), None, "own, suspended");
    assert_eq!(to(&covenant, F::Shelter, "0363"), None, "by a row, suspended");
    assert_eq!(to(&covenant, F::SafeHome, "9999"), None);
    assert_eq!(to(&covenant, F::SafeHome, "363"), None);
    assert_eq!(to(&covenant, F::SafeHome, ""), None);
}

#[test]
fn the_first_row_that_fits_decides_even_if_it_leads_nowhere() {
    let mut message = message();
    message.routes.insert(0, route(F::Mayor, "0363", address(GUARDIAN, F::Mayor), "2026-01-01", ""));
    assert_eq!(to(&covenant_of(&message), F::Mayor, "0363"), None);
    message.routes[0].types = numbers(&[T::CareReport]);
    assert_eq!(to(&covenant_of(&message), F::Mayor, "0363"), Some(address(TOWN, F::Mayor)));
}

#[test]
fn a_row_holds_on_its_days_in_amsterdam() {
    let covenant = covenant();
    let found = |text: &str| {
        let at = at(text.parse::<jiff::Timestamp>().unwrap().as_millisecond());
        covenant.resolve(F::SafeHome, "0363", T::CareReport, at).is_ok()
    };
    assert_eq!([found("2025-12-31T22:59:59.999Z"), found("2025-12-31T23:00:00Z")], [false, true]);
    assert_eq!([found("2026-12-31T22:59:59.999Z"), found("2026-12-31T23:00:00Z")], [true, false]);
}
