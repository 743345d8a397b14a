//! Keys of every kind sign what their certificate verifies.

use seinpost_certs::key::{Key, KeyKind};
use seinpost_certs::pki::{Hierarchy, Request, Usage, Validity};
use seinpost_protocol::item::digest_of;
use seinpost_protocol::time::Timestamp;

use super::*;

fn certified(kind: KeyKind) -> (Key, String) {
    let start = Timestamp::clamped(1_795_500_000_000);
    let key = Key::generate(kind).expect("a key");
    let request = Request {
        oins: vec!["00000099000000000001".into()],
        common_name: "test".into(),
        organisation: "Test".into(),
        usage: Usage::Signing,
        validity: Validity::days(start, 30),
    };
    let issued = Hierarchy::generate("Test", start).expect("authorities").issue(&request, &key).expect("issued");
    (key, issued.to_pem())
}

#[test]
fn every_kind_of_key_signs_what_its_certificate_verifies() {
    for kind in [KeyKind::Ed25519, KeyKind::P256, KeyKind::P384, KeyKind::Rsa3072] {
        let (key, certificates) = certified(kind);
        let identity =
            Identity::from_pem(certificates.as_bytes(), key.to_pem().as_bytes(), ("signing.pem", "signing.key"))
                .expect("they belong together");
        let item = identity.sign(ItemType::Signal, Bytes::from_static(b"payload")).expect("signed");
        let signed = pae(&item.payload_type, &item.payload);
        let signature = &item.signatures[0];
        identity.certificate().key().verify(&signed, &signature.sig).expect("it verifies");
        assert_eq!(signature.keyid, identity.certificate().spki_sha256().to_string());
        assert_eq!(digest_of(&item.payload_type, &item.payload), Digest::of(&signed));
        assert_eq!(identity.chain().above.len(), 1);
    }
}

#[test]
fn a_key_that_is_not_the_certificates_is_refused_and_both_files_are_named() {
    let (_, certificates) = certified(KeyKind::Ed25519);
    let (other, _) = certified(KeyKind::P256);
    let error = Identity::from_pem(certificates.as_bytes(), other.to_pem().as_bytes(), ("signing.pem", "signing.key"));
    let Some(Error::Usage(faults)) = error.err() else {
        panic!("they do not belong together");
    };
    assert_eq!(faults[0].place, "signing.key");
    assert!(faults[0].hint.contains("signing.pem"));
}

#[test]
fn what_is_no_key_or_too_short_is_refused() {
    let refused = |pem: &[u8]| SigningKey::from_pem(pem).err();
    assert_eq!(refused(b"nothing"), Some(BadKey::NoKey));
    assert_eq!(refused(certified(KeyKind::Ed25519).1.as_bytes()), Some(BadKey::NoKey));
    let short = Key::generate(KeyKind::Rsa2048).expect("a key");
    assert_eq!(refused(short.to_pem().as_bytes()), Some(BadKey::RsaTooShort));
}
