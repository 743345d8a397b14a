//! Chains and revocation lists, as a gateway and a client judge them when a certificate is published or first seen.
#![allow(clippy::unwrap_used, reason = "a test that unwraps what must be there fails at the line that says so")]

use bytes::Bytes;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
    date_time_ymd,
};
use seinpost_protocol::certificate::{
    BadCertificate, BadChain, BadCrl, CHAIN_BYTES_MAX, Chain, Crl, CrlNumber, SigningCertificate, oin_of,
};
use seinpost_protocol::digest::Digest;
use seinpost_protocol::time::Timestamp;
use seinpost_protocol::wire;

const OIN: &str = "00000099155000000000";
const OTHER_OIN: &str = "00000099155001000000";

/// A certificate with what is needed to issue by it.
struct Issued {
    der: Bytes,
    params: CertificateParams,
    key: KeyPair,
}

impl Issued {
    fn root(name: &str) -> Self {
        let (params, key) = (authority(name), key());
        Self { der: params.self_signed(&key).unwrap().der().to_vec().into(), params, key }
    }

    fn issue(&self, params: CertificateParams) -> Self {
        let key = key();
        let issuer = Issuer::from_params(&self.params, &self.key);
        Self { der: params.signed_by(&key, &issuer).unwrap().der().to_vec().into(), params, key }
    }

    fn crl(&self, number: u64, revoked: &[&Issued]) -> Bytes {
        crl_by(&Issuer::from_params(&self.params, &self.key), number, revoked)
    }
}

fn key() -> KeyPair {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap()
}

/// Each certificate gets a serial number of its own from its name, so that tests are the same every time.
fn params(name: &str, oin: Option<&str>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    if let Some(oin) = oin {
        params.distinguished_name.push(DnType::CustomDnType(vec![2, 5, 4, 5]), oin);
    }
    params.serial_number =
        Some(SerialNumber::from_slice(&[&[1], &Digest::of(name.as_bytes()).as_bytes()[..15]].concat()));
    (params.not_before, params.not_after) = (date_time_ymd(2026, 1, 1), date_time_ymd(2028, 1, 1));
    params
}

fn authority(name: &str) -> CertificateParams {
    let mut params = params(name, None);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn signing(name: &str) -> CertificateParams {
    let mut params = params(name, Some(OIN));
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(vec![1, 3, 6, 1, 5, 5, 7, 3, 36])];
    params
}

fn crl_by(issuer: &Issuer<'_, &KeyPair>, number: u64, revoked: &[&Issued]) -> Bytes {
    let revoked = revoked.iter().map(|revoked| RevokedCertParams {
        serial_number: revoked.params.serial_number.clone().unwrap(),
        revocation_time: date_time_ymd(2026, 6, 1),
        reason_code: None,
        invalidity_date: None,
    });
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2026, 6, 1),
        next_update: date_time_ymd(2026, 7, 1),
        crl_number: SerialNumber::from(number),
        issuing_distribution_point: None,
        revoked_certs: revoked.collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    list.signed_by(issuer).unwrap().der().to_vec().into()
}

/// A root, an authority below it, and an agency's certificate; nobody is revoked.
struct World {
    root: Issued,
    issuing: Issued,
    leaf: Issued,
}

impl World {
    fn new() -> Self {
        let root = Issued::root("root");
        let issuing = root.issue(authority("issuing"));
        let leaf = issuing.issue(signing("agency"));
        Self { root, issuing, leaf }
    }

    fn chain(&self) -> Chain {
        Chain::parse(&[self.leaf.der.clone(), self.issuing.der.clone()], false).unwrap()
    }

    fn leaf_end(&self) -> Timestamp {
        self.chain().leaf.not_after()
    }

    fn crls(&self) -> [Crl; 2] {
        [self.root.crl(1, &[]), self.issuing.crl(1, &[])].map(|der| Crl::parse(der).unwrap())
    }

    fn roots(&self, oins: &[&str]) -> Vec<wire::Root> {
        vec![wire::Root { der: self.root.der.clone(), oins: oins.iter().map(|oin| (*oin).to_owned()).collect() }]
    }
}

fn day(year: i32, month: u8, day: u8) -> Timestamp {
    Timestamp::from_millis(date_time_ymd(year, month, day).unix_timestamp() * 1000).unwrap()
}

fn now() -> Timestamp {
    day(2026, 6, 15)
}

fn refused(chain: &Chain, roots: &[wire::Root], crls: &[Crl], at: Timestamp) -> BadChain {
    chain.verify(roots, crls, at).err().expect("the chain must be refused")
}

#[test]
fn a_root_vouches_through_an_authority_and_the_lists_that_told_so_are_named() {
    let world = World::new();
    let crls = world.crls();
    let verified = world.chain().verify(&world.roots(&[]), &crls, now()).unwrap();
    let mut digests = crls.each_ref().map(Crl::sha256);
    digests.sort();
    assert_eq!(verified.crl_sha256(), digests);
    assert_eq!(verified.leaf().oin().as_str(), OIN);
    assert_eq!(verified.leaf().sha256(), Digest::of(&world.leaf.der));
}

#[test]
fn a_list_of_an_issuer_outside_the_chain_is_not_named() {
    let world = World::new();
    let stranger = Crl::parse(Issued::root("stranger").crl(1, &[])).unwrap();
    let [root, issuing] = world.crls();
    let verified = world.chain().verify(&world.roots(&[]), &[stranger.clone(), root, issuing], now()).unwrap();
    assert_eq!(verified.crl_sha256().len(), 2);
    assert!(!verified.crl_sha256().contains(&stranger.sha256()));
}

#[test]
fn a_root_vouches_only_for_the_organisations_that_the_covenant_gives_it() {
    let world = World::new();
    let (chain, crls) = (world.chain(), world.crls());
    assert!(chain.verify(&world.roots(&[OTHER_OIN, OIN]), &crls, now()).is_ok());
    assert_eq!(refused(&chain, &world.roots(&[OTHER_OIN]), &crls, now()), BadChain::UnknownIssuer);
    let stranger = wire::Root { der: Issued::root("stranger").der, oins: vec![] };
    assert_eq!(refused(&chain, &[stranger], &crls, now()), BadChain::UnknownIssuer);
    assert_eq!(refused(&chain, &[], &crls, now()), BadChain::UnknownIssuer);
}

#[test]
fn a_root_of_the_same_name_and_another_key_does_not_vouch() {
    let world = World::new();
    let impostor = World { root: Issued::root("root"), ..World::new() };
    let verdict = refused(&world.chain(), &impostor.roots(&[]), &world.crls(), now());
    assert!(matches!(verdict, BadChain::Invalid | BadChain::UnknownIssuer), "{verdict:?}");
}

#[test]
fn without_the_authority_between_nobody_vouches() {
    let world = World::new();
    let chain = Chain::parse(std::slice::from_ref(&world.leaf.der), false).unwrap();
    assert_eq!(refused(&chain, &world.roots(&[]), &world.crls(), now()), BadChain::UnknownIssuer);
}

#[test]
fn dates_are_asked_at_the_time_that_is_given() {
    let world = World::new();
    let (chain, roots, crls) = (world.chain(), world.roots(&[]), world.crls());
    assert!(chain.verify(&roots, &crls, day(2026, 1, 1)).is_ok());
    assert_eq!(refused(&chain, &roots, &crls, day(2025, 12, 31)), BadChain::Dates);
    assert_eq!(refused(&chain, &roots, &crls, day(2028, 1, 2)), BadChain::Dates);
    assert!(chain.leaf.is_valid_at(day(2028, 1, 1)));
    assert!(!chain.leaf.is_valid_at(day(2028, 1, 2)));
    assert!(!chain.leaf.is_valid_at(day(2025, 12, 31)));
}

#[test]
fn what_was_revoked_at_any_step_does_not_count() {
    let world = World::new();
    let [root, issuing] = world.crls();
    let revoking = |der| Crl::parse(der).unwrap();
    let leaf_gone = revoking(world.issuing.crl(2, &[&world.leaf]));
    let issuing_gone = revoking(world.root.crl(2, &[&world.issuing]));
    let (chain, roots) = (world.chain(), world.roots(&[]));
    assert_eq!(refused(&chain, &roots, &[root.clone(), leaf_gone], now()), BadChain::Revoked);
    assert_eq!(refused(&chain, &roots, &[issuing_gone, issuing.clone()], now()), BadChain::Revoked);
    let other = revoking(world.issuing.crl(2, &[&world.issuing.issue(signing("another agency"))]));
    assert!(chain.verify(&roots, &[root, other], now()).is_ok());
}

#[test]
fn a_status_that_no_list_tells_counts_as_revoked() {
    let world = World::new();
    let [root, issuing] = world.crls();
    let (chain, roots) = (world.chain(), world.roots(&[]));
    for crls in [vec![], vec![root], vec![issuing]] {
        assert_eq!(refused(&chain, &roots, &crls, now()), BadChain::RevocationUnknown, "{} lists", crls.len());
    }
}

#[test]
fn a_list_that_its_issuer_did_not_sign_tells_nothing() {
    let world = World::new();
    let forger = key();
    let forged = crl_by(&Issuer::from_params(&world.issuing.params, &forger), 9, &[]);
    let [root, _] = world.crls();
    let forged = Crl::parse(forged).unwrap();
    assert_eq!(refused(&world.chain(), &world.roots(&[]), &[root, forged], now()), BadChain::Invalid);
}

#[test]
fn an_old_list_still_tells_since_the_gateway_watches_its_age() {
    let world = World::new();
    assert!(world.crls()[0].next_update() < day(2027, 1, 1));
    assert!(world.chain().verify(&world.roots(&[]), &world.crls(), day(2027, 1, 1)).is_ok());
}

#[test]
fn an_agency_cannot_issue_and_an_authority_cannot_sign() {
    let world = World::new();
    let below = world.leaf.issue(signing("below an agency"));
    let chain = Chain::parse(&[below.der.clone(), world.leaf.der.clone(), world.issuing.der.clone()], false).unwrap();
    assert!(chain.verify(&world.roots(&[]), &world.crls(), now()).is_err());

    let mut authority = authority("authority with an OIN");
    authority.distinguished_name.push(DnType::CustomDnType(vec![2, 5, 4, 5]), OIN);
    let authority = world.issuing.issue(authority);
    let chain = Chain::parse(&[authority.der, world.issuing.der.clone()], false).unwrap();
    assert_eq!(refused(&chain, &world.roots(&[]), &world.crls(), now()), BadChain::Invalid);
}

/// What a chain through an authority that was issued so is worth, all else being right.
fn through(authority: CertificateParams, leaf: CertificateParams) -> Result<(), BadChain> {
    let root = Issued::root("root");
    let issuing = root.issue(authority);
    let leaf = issuing.issue(leaf);
    let chain = Chain::parse(&[leaf.der, issuing.der.clone()], false).unwrap();
    let crls = [root.crl(1, &[]), issuing.crl(1, &[])].map(|crl| Crl::parse(crl).unwrap());
    let roots = [wire::Root { der: root.der, oins: vec![] }];
    chain.verify(&roots, &crls, now()).map(|_| ())
}

#[test]
fn an_authority_signs_certificates_only_if_its_key_usage_says_so() {
    assert_eq!(through(authority("issuing"), signing("agency")), Ok(()));
    let with = |usages: &[KeyUsagePurpose]| {
        let mut params = authority("issuing");
        params.key_usages = usages.to_vec();
        through(params, signing("agency"))
    };
    let lists = KeyUsagePurpose::CrlSign;
    assert_eq!(with(&[lists, KeyUsagePurpose::DigitalSignature]), Err(BadChain::Invalid));
    assert_eq!(with(&[]), Ok(()), "an authority without the extension may do both");
}

#[test]
fn a_chain_is_no_longer_than_its_authorities_allow() {
    let world = World::new();
    let below = |constraint| {
        let mut params = authority("upper");
        params.is_ca = IsCa::Ca(constraint);
        let upper = world.root.issue(params);
        let lower = upper.issue(authority("lower"));
        let leaf = lower.issue(signing("agency"));
        let chain = Chain::parse(&[leaf.der, lower.der.clone(), upper.der.clone()], false).unwrap();
        let crls = [world.root.crl(1, &[]), upper.crl(1, &[]), lower.crl(1, &[])].map(|crl| Crl::parse(crl).unwrap());
        chain.verify(&world.roots(&[]), &crls, now()).map(|_| ())
    };
    assert_eq!(below(BasicConstraints::Constrained(1)), Ok(()));
    assert_eq!(below(BasicConstraints::Constrained(0)), Err(BadChain::Invalid));
}

#[test]
fn a_critical_extension_that_nobody_knows_is_refused_wherever_it_stands() {
    let unknown = |critical| {
        let mut extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0]);
        extension.set_criticality(critical);
        extension
    };
    for critical in [true, false] {
        let (mut above, mut leaf) = (authority("issuing"), signing("agency"));
        above.custom_extensions.push(unknown(critical));
        let expected = if critical { Err(BadChain::Invalid) } else { Ok(()) };
        assert_eq!(through(above, signing("agency")), expected);
        leaf.custom_extensions.push(unknown(critical));
        assert_eq!(through(authority("issuing"), leaf), expected);
    }
}

#[test]
fn a_certificate_is_valid_to_the_end_of_its_last_second() {
    let world = World::new();
    let (roots, crls) = (world.roots(&[]), world.crls());
    let end = world.leaf_end();
    for (millis, valid) in [(0, true), (999, true), (1_000, false)] {
        let at = end + std::time::Duration::from_millis(millis);
        assert_eq!(world.chain().leaf.is_valid_at(at), valid, "{millis} ms");
        assert_eq!(world.chain().verify(&roots, &crls, at).is_ok(), valid, "{millis} ms");
    }
}

#[test]
fn a_chain_is_bounded_before_it_is_read() {
    let world = World::new();
    let refused = |certificates: &[Bytes]| Chain::parse(certificates, false).err().unwrap();
    assert_eq!(refused(&[]), BadChain::Empty);
    assert_eq!(refused(&vec![world.leaf.der.clone(); 5]), BadChain::TooLong);
    assert!(Chain::parse(&vec![world.leaf.der.clone(); 4], false).is_ok());
    let padding = Bytes::from(vec![0; CHAIN_BYTES_MAX + 1 - world.leaf.der.len()]);
    assert_eq!(refused(&[world.leaf.der.clone(), padding.clone()]), BadChain::TooLong);
    assert!(Chain::parse(&[world.leaf.der.clone(), padding.slice(1..)], false).is_ok());
}

#[test]
fn usages_are_for_signing_and_the_covenant_may_stand_in_for_the_extended_ones() {
    let issuing = Issued::root("issuing");
    let verdict = |usages: Vec<KeyUsagePurpose>, extended: Vec<ExtendedKeyUsagePurpose>, bound| {
        let mut params = signing("agency");
        (params.key_usages, params.extended_key_usages) = (usages, extended);
        SigningCertificate::parse(issuing.issue(params).der).unwrap().check_usage(bound)
    };
    let signs = || vec![KeyUsagePurpose::DigitalSignature];
    let commits = || vec![KeyUsagePurpose::ContentCommitment];
    let documents = || vec![ExtendedKeyUsagePurpose::Other(vec![1, 3, 6, 1, 5, 5, 7, 3, 36])];
    assert_eq!(verdict(signs(), documents(), false), Ok(()));
    assert_eq!(verdict(commits(), documents(), false), Ok(()));
    assert_eq!(verdict(signs(), vec![ExtendedKeyUsagePurpose::EmailProtection], false), Ok(()));
    for usages in [vec![], vec![KeyUsagePurpose::KeyEncipherment]] {
        assert_eq!(verdict(usages.clone(), documents(), false), Err(BadCertificate::Usage));
        assert_eq!(verdict(usages, documents(), true), Err(BadCertificate::Usage));
    }
    for purpose in
        [ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::Any]
    {
        let extended = || [documents(), vec![purpose.clone()]].concat();
        assert_eq!(verdict(signs(), extended(), false), Err(BadCertificate::ExtendedUsage));
        assert_eq!(verdict(signs(), extended(), true), Ok(()));
    }
    assert_eq!(verdict(signs(), vec![], false), Err(BadCertificate::ExtendedUsage));
    assert_eq!(verdict(signs(), vec![], true), Ok(()));
}

#[test]
fn an_organisation_is_known_by_one_oin() {
    let issuing = Issued::root("issuing");
    let oin = |number: Option<&str>| oin_of(&issuing.issue(params("agency", number)).der);
    assert_eq!(oin(Some(OIN)).unwrap().as_str(), OIN);
    for number in [None, Some("0000009915500000000"), Some("000000991550000000000"), Some("0000009915500000000a")] {
        assert_eq!(oin(number), Err(BadCertificate::Oin), "{number:?}");
    }
    let der = issuing.issue(params("agency", Some(OIN))).der;
    assert_eq!(oin_of(&[&der[..], &[0]].concat()), Err(BadCertificate::Malformed));
    assert_eq!(oin_of(&der[..der.len() - 1]), Err(BadCertificate::Malformed));
    assert_eq!(oin_of(&[]), Err(BadCertificate::Malformed));
}

#[test]
fn a_revocation_list_says_who_made_it_and_when() {
    let world = World::new();
    let der = world.issuing.crl(0x0100, &[]);
    let crl = Crl::parse(der.clone()).unwrap();
    assert_eq!(crl.number().as_bytes().as_ref(), [1, 0]);
    assert_eq!((crl.this_update(), crl.next_update()), (day(2026, 6, 1), day(2026, 7, 1)));
    assert_eq!(crl.sha256(), Digest::of(&der));
    assert_ne!(crl.issuer_sha256(), Crl::parse(world.root.crl(1, &[])).unwrap().issuer_sha256());
    assert_eq!(crl.issuer_sha256(), Crl::parse(world.issuing.crl(7, &[&world.leaf])).unwrap().issuer_sha256());
    assert_eq!(Crl::parse([&der[..], &[0]].concat().into()).err(), Some(BadCrl::Malformed));
    assert_eq!(Crl::parse(world.leaf.der).err(), Some(BadCrl::Malformed));
}

#[test]
fn numbers_of_revocation_lists_are_compared_as_numbers() {
    let number = |bytes: &[u8]| CrlNumber::try_from(bytes);
    let ascending = [&[0][..], &[1], &[0xff], &[1, 0], &[1, 2], &[2, 0], &[1, 0, 0], &[0xff; 20]];
    for pair in ascending.windows(2) {
        assert!(number(pair[0]).unwrap() < number(pair[1]).unwrap(), "{pair:?}");
    }
    for none in [&[][..], &[0, 1], &[1; 21]] {
        assert_eq!(number(none), Err(BadCrl::Number), "{none:?}");
    }
}
