//! Who must have signed a covenant, and what is told of signatures that are missing or nobody's.

use super::*;

#[test]
fn registrars_are_accused_of_two_covenants_only_by_their_own_signatures() {
    let last = covenant();
    let floor = floor_of(last.item());
    let other = wire::Covenant { hub_oin: POLICE.to_owned(), ..last.message().clone() };
    let changed = wire::SignedItem { payload: other.encode_to_vec().into(), ..last.item().clone() };
    let refused = |item: &wire::SignedItem, trust: &Trust<'_>| Covenant::verify(item, trust).unwrap_err();

    for trust in [Trust::Last(&last), Trust::Floor(floor)] {
        let bad = refused(&changed, &trust);
        assert_eq!((bad.reason(), bad.field()), ("SIGNATURE", "signatures[0]"), "a changed byte: {bad}");
        assert_eq!(refused(&signed(&other, &[]), &trust).reason(), "TOO_FEW_OLD", "nobody signed");
        assert_eq!(refused(&signed(&other, &[1]), &trust).reason(), "TOO_FEW_OLD", "one is not enough");
        assert_eq!(refused(&signed(&other, &[1, 8]), &trust).reason(), "SIGNATURE", "a stranger");
        let bad = refused(&signed(&other, &[1, 3]), &trust);
        assert_eq!((bad.reason(), bad.field()), ("SERIAL_FORK", "serial"), "two signed both: {bad}");
    }
}

#[test]
fn a_covenant_of_too_many_registrars_is_refused_before_its_signatures_are_tried() {
    let last = covenant();
    for message in [next_of(&last), last.message().clone()] {
        let mut message = message;
        message.registrars.resize(33, registrar(3));
        let bad = Covenant::verify(&signed(&message, &[1, 2]), &Trust::Last(&last)).unwrap_err();
        assert_eq!((bad.reason(), bad.field()), ("SIZE", "registrars"));
    }
    let bad = Covenant::verify(&signed(&next_of(&last), &[1; 65]), &Trust::Last(&last)).unwrap_err();
    assert_eq!((bad.reason(), bad.field()), ("SIZE", ""));
}

#[test]
fn who_signed_the_first_covenant_and_left_with_it_is_listed_in_the_hub_file() {
    let before = covenant();
    let mut message = next_of(&before);
    message.registrars = vec![registrar(3), registrar(4), registrar(5)];
    let item = signed(&message, &[1, 3, 4]);
    assert!(Covenant::verify(&item, &Trust::Last(&before)).is_ok());

    let with = |of: &[u8]| Floor { registrars: of.iter().map(|of| registrar(*of)).collect(), ..floor_of(&item) };
    let bad = Covenant::verify(&item, &Trust::Floor(with(&[3, 4, 5]))).unwrap_err();
    assert_eq!((bad.reason(), bad.field()), ("SIGNATURE", "signatures[0]"));
    assert!(bad.to_string().contains("has to be listed in hub.toml too"), "it says what to do: {bad}");
    let listed = Covenant::verify(&item, &Trust::Floor(with(&[1, 3, 4, 5]))).unwrap();

    let mut third = next_of(&listed);
    third.registrars.clone_from(&message.registrars);
    assert!(Covenant::verify(&signed(&third, &[4, 5]), &Trust::Last(&listed)).is_ok());
    let bad = Covenant::verify(&signed(&third, &[1, 4, 5]), &Trust::Last(&listed)).unwrap_err();
    assert_eq!(bad.reason(), "SIGNATURE", "the hub file's list counts for the first covenant alone");
}

#[test]
fn a_hub_file_whose_threshold_lets_anybody_sign_trusts_nobody() {
    let item = signed(&message(), &[1, 2]);
    let floor = floor_of(&item);
    for (threshold, test, good) in [(0, false, false), (1, false, false), (0, true, false), (1, true, true)] {
        let floor = Floor { threshold, test, ..floor.clone() };
        assert_eq!(Covenant::verify(&item, &Trust::Floor(floor)).is_ok(), good, "{threshold} {test}");
    }
    let twins = vec![registrar(1), wire::Registrar { oin: HUB.to_owned(), ..registrar(1) }];
    let floor = Floor { registrars: twins, ..floor };
    let bad = Covenant::verify(&signed(&message(), &[1, 2]), &Trust::Floor(floor)).unwrap_err();
    assert_eq!(bad.reason(), "TOO_FEW_OLD", "one key under two OINs counts once");
}

/// Who must sign the next covenant, which has registrars 2, 3 and 4 where 1, 2 and 3 were.
fn signed_by(by: &[u8]) -> Result<u64, &'static str> {
    let last = covenant();
    let mut message = next_of(&last);
    message.registrars = vec![registrar(2), registrar(3), registrar(4)];
    let next = Covenant::verify(&signed(&message, by), &Trust::Last(&last));
    next.map(|next| next.serial()).map_err(|bad| bad.reason())
}

#[test]
fn enough_old_and_enough_new_registrars_have_signed_and_nobody_else() {
    assert_eq!(signed_by(&[2, 3]), Ok(8), "two of each");
    assert_eq!(signed_by(&[1, 2, 4]), Ok(8), "one of them both old and new");
    assert_eq!(signed_by(&[1, 2, 3, 4]), Ok(8));
    assert_eq!(signed_by(&[2, 2, 3]), Ok(8), "one of them twice");
    assert_eq!(signed_by(&[]), Err("TOO_FEW_OLD"));
    assert_eq!(signed_by(&[2, 2]), Err("TOO_FEW_OLD"), "twice is once");
    assert_eq!(signed_by(&[2, 4]), Err("TOO_FEW_OLD"));
    assert_eq!(signed_by(&[1, 2]), Err("TOO_FEW_NEW"));
    assert_eq!(signed_by(&[2, 3, 5]), Err("SIGNATURE"), "a stranger");
    assert_eq!(signed_by(&[2, 3, 9]), Err("SIGNATURE"), "the log's key is no registrar's");
    assert_eq!(signed_by(&[2; 65]), Err("SIZE"));
}

#[test]
fn a_signature_over_other_bytes_is_nobodys() {
    let last = covenant();
    let mut item = signed(&next_of(&last), &[1, 2]);
    let mut sig = item.signatures[1].sig.to_vec();
    sig[40] ^= 1;
    item.signatures[1].sig = sig.into();
    let bad = Covenant::verify(&item, &Trust::Last(&last)).unwrap_err();
    assert_eq!((bad.reason(), bad.field()), ("SIGNATURE", "signatures[1]"));
    item.signatures[1].sig = bytes::Bytes::new();
    assert_eq!(Covenant::verify(&item, &Trust::Last(&last)).unwrap_err().reason(), "SIGNATURE");
}

proptest::proptest! {
    /// Whatever registrars sign, it is taken or refused; nothing that was checked before is assumed in vain.
    #[test]
    fn a_covenant_with_a_changed_byte_is_never_a_panic(place in proptest::prelude::any::<usize>(), byte: u8) {
        let last = covenant();
        let mut payload = next_of(&last).encode_to_vec();
        let place = place % payload.len();
        payload[place] = byte;
        let payload: bytes::Bytes = payload.into();
        let payload_type = ItemType::Covenant.payload_type().to_owned();
        let pae = crate::item::pae(&payload_type, &payload);
        let signatures = [1, 2].map(|of| wire::ItemSignature {
            sig: key(of).sign(&pae).to_bytes().to_vec().into(),
            keyid: String::new(),
        });
        let item = wire::SignedItem { signatures: signatures.to_vec(), payload, payload_type };
        if let Ok(next) = Covenant::verify(&item, &Trust::Last(&last)) {
            proptest::prop_assert_eq!(next.serial(), 8);
            next.cells().for_each(drop);
        }
    }
}

#[test]
fn a_hint_who_signed_is_never_looked_at() {
    let last = covenant();
    let mut item = signed(&next_of(&last), &[1, 2]);
    item.signatures[0].keyid = "00".to_owned();
    assert!(Covenant::verify(&item, &Trust::Last(&last)).is_ok());
}
