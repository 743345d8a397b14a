//! Sealing and opening, and each way in which what was delivered can be wrong.

use super::*;

fn recipient() -> (PrivateKey, SealTo) {
    let key = PrivateKey::generate().expect("random bytes");
    let to = SealTo { key: key.public_key(), statement: Digest::of(b"statement") };
    (key, to)
}

fn sealed_and_opened(content: &[u8]) -> (SizeClass, Vec<u8>) {
    let (key, to) = recipient();
    let sealing = Sealing::begin(content).expect("it fits");
    let (class, commitment) = (sealing.size_class(), sealing.commitment());
    let sealed = sealing.finish(b"header", std::slice::from_ref(&to)).expect("random bytes");
    let delivered = Delivered {
        header: b"header",
        content_commitment: &commitment,
        size_class: class,
        suite: SUITE,
        content_sha256: &sealed.content_sha256,
        key_statement: &to.statement,
        wrapped_sha256: &Digest::of(&sealed.wrapped[0]),
        sealed_content: &sealed.sealed_content,
        wrapped: &sealed.wrapped[0],
    };
    let opened = open(&delivered, &key).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(opened.blind.commitment(content, class), Some(commitment));
    (class, opened.content.as_bytes().to_vec())
}

#[test]
fn content_comes_back_in_the_smallest_class_that_holds_it() {
    for (bytes, class) in [
        (0, SizeClass::Kib4),
        (4_076, SizeClass::Kib4),
        (4_077, SizeClass::Kib16),
        (65_536 - 20, SizeClass::Kib64),
        (65_536 - 19, SizeClass::Kib256),
        (1_048_576 - 20, SizeClass::Kib1024),
    ] {
        let content = vec![0x5a; bytes];
        assert_eq!(sealed_and_opened(&content), (class, content), "{bytes} bytes");
    }
}

#[test]
fn content_that_fits_no_class_is_refused() {
    let content = vec![0; 1_048_576 - 19];
    assert_eq!(Sealing::begin(&content).err(), Some(CannotSeal::ContentTooLarge { bytes: content.len() }));
}

#[test]
fn two_sealings_of_one_text_share_no_bytes_that_tell_so() {
    let (_, to) = recipient();
    let seal = || {
        let sealing = Sealing::begin(b"text").expect("it fits");
        let commitment = sealing.commitment();
        (commitment, sealing.finish(b"header", std::slice::from_ref(&to)).expect("random bytes"))
    };
    let ((first, a), (second, b)) = (seal(), seal());
    assert_ne!(first, second);
    assert_ne!(a.sealed_content, b.sealed_content);
    assert_ne!(a.wrapped[0][..ENCAPSULATION_BYTES], b.wrapped[0][..ENCAPSULATION_BYTES]);
}

#[test]
fn a_public_key_of_other_length_is_refused() {
    let (key, _) = recipient();
    let bytes = key.public_key().to_bytes();
    assert!(PublicKey::from_bytes(&bytes).is_ok());
    assert_eq!(PublicKey::from_bytes(&bytes[1..]), Err(BadPublicKey));
}
