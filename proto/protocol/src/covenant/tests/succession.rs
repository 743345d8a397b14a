//! Which covenant is taken: by the hub file the one that it names, then each after the one before.

use super::*;

#[test]
fn the_next_covenant_is_taken_and_remembers_where_it_came_from() {
    let next = taken(|_| {});
    assert_eq!((next.serial(), next.previous_digest()), (8, Some(covenant().digest())));
    assert_eq!(next.hub_oin(), oin(HUB));
    assert_eq!(next.live_log_keys().len(), 1);
}

#[test]
fn a_covenant_must_not_be_larger_than_2_mib() {
    let filled = |extra: usize| {
        move |covenant: &mut wire::Covenant| covenant.code_lists[0].codes[0].label_nl = "x".repeat(extra)
    };
    let last = covenant();
    let size = |message: &wire::Covenant| signed(message, &[1, 2]).encoded_len();
    let mut message = next_of(&last);
    filled(COVENANT_BYTES_MAX - 10_000)(&mut message);
    let exact = COVENANT_BYTES_MAX - 10_000 + COVENANT_BYTES_MAX - size(&message);
    assert_eq!(taken(filled(exact)).item().encoded_len(), COVENANT_BYTES_MAX);
    check(filled(exact + 1), "SIZE", "");
    let bytes = vec![0; COVENANT_BYTES_MAX + 1].into();
    let bad = Covenant::verify_bytes(bytes, &Trust::Last(&last)).unwrap_err();
    assert_eq!(bad.reason(), "SIZE", "before anything is decoded");
}

#[test]
fn an_item_of_another_type_is_no_covenant() {
    let last = covenant();
    let mut item = signed(&next_of(&last), &[1, 2]);
    item.payload_type = ItemType::Signal.payload_type().to_owned();
    assert_eq!(Covenant::verify(&item, &Trust::Last(&last)).unwrap_err().reason(), "PAYLOAD_TYPE");
}

#[test]
fn a_file_with_an_unknown_field_in_the_envelope_is_refused() {
    let last = covenant();
    let item = signed(&next_of(&last), &[1, 2]);
    let good = item.encode_to_vec();
    assert!(Covenant::verify_bytes(good.clone().into(), &Trust::Last(&last)).is_ok());
    let bad = [good, vec![0x7a, 0x00]].concat();
    assert_eq!(Covenant::verify_bytes(bad.into(), &Trust::Last(&last)).unwrap_err().reason(), "UNKNOWN_FIELD");
}

#[test]
fn the_payload_must_be_canonical() {
    let last = covenant();
    let mut item = signed(&next_of(&last), &[1, 2]);
    item.payload = [item.payload.as_ref(), &[0xf8, 0x01, 0x01]].concat().into();
    assert_eq!(Covenant::verify(&item, &Trust::Last(&last)).unwrap_err().reason(), "UNKNOWN_FIELD");
}

#[test]
fn the_succession_holds() {
    check(|covenant| covenant.log_origin = "other.log".to_owned(), "ORIGIN", "log_origin");
    check(|covenant| covenant.serial = 6, "SERIAL_LOWER", "serial");
    check(|covenant| covenant.serial = 7, "SERIAL_FORK", "serial");
    check(|covenant| covenant.serial = 9, "SERIAL_GAP", "serial");
    check(|covenant| covenant.serial = u64::MAX, "SERIAL_GAP", "serial");
    check(|covenant| covenant.previous_digest = Digest::of(b"").into(), "PREVIOUS_DIGEST", "previous_digest");
    check(|covenant| covenant.previous_digest.clear(), "PREVIOUS_DIGEST", "previous_digest");
}

#[test]
fn the_first_covenant_of_all_follows_nothing() {
    let mut message = message();
    message.serial = 1;
    let item = signed(&message, &[1, 2]);
    let bad = Covenant::verify(&item, &Trust::Floor(floor_of(&item))).unwrap_err();
    assert_eq!(bad.reason(), "PREVIOUS_DIGEST");
    message.previous_digest.clear();
    assert_eq!(covenant_of(&message).previous_digest(), None);
}

#[test]
fn by_the_hub_file_exactly_its_covenant_is_taken() {
    let item = signed(&message(), &[1, 2]);
    let floor = floor_of(&item);
    let refused = |floor: Floor| Covenant::verify(&item, &Trust::Floor(floor)).unwrap_err().reason();
    assert!(Covenant::verify(&item, &Trust::Floor(floor.clone())).is_ok());
    assert_eq!(refused(Floor { digest: Digest::of(b"other"), ..floor.clone() }), "SERIAL_FORK");
    assert_eq!(refused(Floor { serial: 8, ..floor.clone() }), "SERIAL_LOWER");
    assert_eq!(refused(Floor { serial: 6, ..floor.clone() }), "SERIAL_GAP", "though it may be the next one");
    assert_eq!(refused(Floor { log_origin: "other.log".to_owned(), ..floor.clone() }), "ORIGIN");
    let others = vec![registrar(4), registrar(5), registrar(6)];
    assert_eq!(refused(Floor { registrars: others, ..floor }), "TOO_FEW_OLD");
}

#[test]
fn the_same_covenant_again_is_the_one_already_held() {
    let last = covenant();
    let trust = Trust::Last(&last);
    let again = Covenant::verify(&signed(last.message(), &[2, 3]), &trust).unwrap();
    assert_eq!(again.item(), last.item(), "with the signatures that it first came with");
    let forged = signed(last.message(), &[1, 4]);
    assert_eq!(Covenant::verify(&forged, &trust).unwrap_err().reason(), "SIGNATURE");
    let bare = signed(last.message(), &[1]);
    assert_eq!(Covenant::verify(&bare, &trust).unwrap_err().reason(), "TOO_FEW_OLD");
}

#[test]
fn a_covenant_that_leaving_registrars_signed_can_be_read_again_when_only_it_is_trusted() {
    let last = covenant();
    let mut message = next_of(&last);
    message.registrars = vec![registrar(3), registrar(4), registrar(5)];
    let item = signed(&message, &[1, 2, 3, 4]);
    let next = Covenant::verify(&item, &Trust::Last(&last)).unwrap();
    assert!(Covenant::verify(&item, &Trust::Last(&next)).is_ok());
}

#[test]
fn validity_is_not_empty_and_at_most_100_days() {
    let until = |millis| move |covenant: &mut wire::Covenant| covenant.valid_until = time(millis);
    check(until(BEGIN), "VALIDITY", "valid_until");
    check(until(BEGIN - 1), "VALIDITY", "valid_until");
    check(until(BEGIN + 100 * DAY + 1), "VALIDITY", "valid_until");
    assert_eq!(taken(until(BEGIN + 100 * DAY)).valid_until(), at(BEGIN + 100 * DAY));
    check(|covenant| covenant.valid_from = time(BEGIN - 1), "VALIDITY", "valid_from");
}

#[test]
fn validity_is_from_and_not_until() {
    let covenant = covenant();
    let valid = |millis| covenant.is_valid_at(at(millis));
    assert_eq!([valid(BEGIN - 1), valid(BEGIN)], [false, true]);
    assert_eq!([valid(BEGIN + 91 * DAY - 1), valid(BEGIN + 91 * DAY)], [true, false]);
}

#[test]
fn a_walk_may_start_from_a_covenant_that_is_over_for_up_to_30_days() {
    let covenant = covenant();
    let over = BEGIN + 91 * DAY;
    assert!(covenant.may_start_a_walk_at(at(over + 30 * DAY - 1)));
    assert!(!covenant.may_start_a_walk_at(at(over + 30 * DAY)));
}

#[test]
fn the_old_covenant_rules_until_the_new_one_begins() {
    let old = covenant();
    let new = taken(|covenant| {
        covenant.valid_from = time(BEGIN + 10 * DAY);
        covenant.valid_until = time(BEGIN + 20 * DAY);
    });
    let ruling = |millis| Covenant::ruling_at([&new, &old], at(millis)).map(Covenant::serial);
    assert_eq!(ruling(BEGIN - 1), None);
    assert_eq!(ruling(BEGIN + 10 * DAY - 1), Some(7));
    assert_eq!(ruling(BEGIN + 10 * DAY), Some(8));
    assert_eq!(ruling(BEGIN + 20 * DAY), None, "the old one does not come back");
}

#[test]
fn a_walk_goes_serial_by_serial_and_names_the_one_that_breaks_a_rule() {
    let first = signed(&message(), &[1, 2]);
    let floor = Trust::Floor(floor_of(&first));
    let seventh = covenant();
    let eighth = taken(|_| {});
    let mut ninth_message = next_of(&eighth);
    ninth_message.registrars = vec![registrar(4), registrar(5)];
    let ninth = signed(&ninth_message, &[1, 2, 4, 5]);
    let tenth_message = wire::Covenant {
        serial: 10,
        previous_digest: crate::item::digest_of(&ninth.payload_type, &ninth.payload).into(),
        ..ninth_message
    };
    let tenth = signed(&tenth_message, &[4, 5]);
    let all = [&first, eighth.item(), &ninth, &tenth];
    assert_eq!(walk(&floor, all).unwrap().unwrap().serial(), 10);
    assert_eq!(walk(&Trust::Last(&seventh), [all[1], all[2]]).unwrap().unwrap().serial(), 9);
    assert_eq!(walk(&Trust::Last(&seventh), []).unwrap().unwrap().serial(), 7);
    assert!(walk(&floor, []).unwrap().is_none());
    let (place, bad) = walk(&floor, [all[0], all[1], all[3]]).unwrap_err();
    assert_eq!((place, bad.reason()), (2, "SERIAL_GAP"));
    let (place, bad) = walk(&floor, [all[0], all[1], all[0]]).unwrap_err();
    assert_eq!((place, bad.reason()), (2, "SERIAL_LOWER"));
}
