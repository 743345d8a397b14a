//! Who is let in: each certificate that is wrong hears `access_denied` and nothing more, who has none hears that.
#![allow(clippy::unwrap_used, reason = "a test that unwraps what must be there fails at the line that says so")]

use bytes::Bytes;
use rustls::AlertDescription;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use seinpost_certs::world::{UNBOUND, Wrong};
use seinpost_client::client::Client;
use seinpost_client::error::Kind;
use seinpost_client::profile::Profile;
use seinpost_protocol::wire::{PublishCertificateRequest, Use};
use seinpost_rpc::covenant_service_client::CovenantServiceClient;
use seinpost_tests::harness::hub::Hub;
use seinpost_tests::harness::raw::{self, Credentials, Handshake, reason};
use seinpost_tests::harness::world::now;

#[tokio::test(flavor = "multi_thread")]
async fn every_certificate_that_is_wrong_hears_access_denied_and_none_hears_that_one_is_required() {
    let hub = Hub::start().await;
    let denied = Handshake::Alert(AlertDescription::AccessDenied);
    let mut wrong = Vec::new();
    for what in Wrong::ALL {
        let credentials = Credentials::from(hub.world().wrong(Use::Transport, what, now()).unwrap());
        let heard = raw::handshake(hub.address(), Some(&credentials)).await;
        if heard != denied {
            wrong.push((what, heard));
        }
    }
    assert_eq!(wrong, []);
    let required = Handshake::Alert(AlertDescription::CertificateRequired);
    assert_eq!(raw::handshake(hub.address(), None).await, required);
    // What is like them and not wrong is let in.
    let good = Credentials::from(hub.world().good(Use::Transport, now()).unwrap());
    assert_eq!(raw::handshake(hub.address(), Some(&good)).await, Handshake::LetIn);
    assert_eq!(raw::handshake(hub.address(), Some(&hub.credentials("police-amsterdam"))).await, Handshake::LetIn);
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_with_a_wrong_certificate_is_told_that_it_is_not_allowed() {
    let hub = Hub::start().await;
    let gateway = hub.address().to_string();
    for (name, what) in [("revoked", Wrong::Revoked), ("elsewhere", Wrong::KeyBoundElsewhere)] {
        let credentials = hub.world().wrong(Use::Transport, what, now()).unwrap();
        let profile = hub.world().add_profile(name, UNBOUND, &gateway, Some(&credentials), None).unwrap();
        let client = Client::open(Profile::load(&profile).unwrap()).unwrap();
        let error = client.refresh_covenant().await.unwrap_err();
        assert_eq!(error.kind(), Kind::NotAllowed, "{what:?}: {error}");
    }
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_revoked_is_refused_from_the_next_start_on() {
    let mut hub = Hub::start().await;
    let police = hub.credentials("police-amsterdam");
    assert_eq!(raw::handshake(hub.address(), Some(&police)).await, Handshake::LetIn);
    let leaf = CertificateDer::from_pem_slice(police.certificate.as_bytes()).unwrap();
    hub.world_mut().revoke(&leaf, now()).unwrap();
    hub.restart().await;
    let denied = Handshake::Alert(AlertDescription::AccessDenied);
    assert_eq!(raw::handshake(hub.address(), Some(&police)).await, denied);
    assert_eq!(hub.open("police-amsterdam").refresh_covenant().await.unwrap_err().kind(), Kind::NotAllowed);
    assert_eq!(raw::handshake(hub.address(), Some(&hub.credentials("shelter"))).await, Handshake::LetIn);
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_suspended_or_left_out_of_the_covenant_is_not_let_in() {
    let mut hub = Hub::start().await;
    hub.stop().await;
    let oin = |identity: &str| hub.world().address(identity).unwrap().oin.to_string();
    let (suspended, gone) = (oin("shelter"), oin("guardian"));
    let change = |covenant: &mut seinpost_protocol::wire::Covenant| {
        covenant.participants.iter_mut().find(|one| one.oin == suspended).unwrap().suspended = true;
        covenant.participants.retain(|one| one.oin != gone);
        covenant.routes.retain(|route| route.to.as_ref().is_none_or(|to| to.oin != gone));
    };
    let next = hub.world().covenant_after(hub.world().covenant(), change, &[0, 2]).unwrap();
    hub.world().save_covenant(&next).unwrap();
    hub.serve().await;
    let denied = Handshake::Alert(AlertDescription::AccessDenied);
    for identity in ["shelter", "guardian"] {
        assert_eq!(raw::handshake(hub.address(), Some(&hub.credentials(identity))).await, denied, "{identity}");
    }
    assert_eq!(raw::handshake(hub.address(), Some(&hub.credentials("police-amsterdam"))).await, Handshake::LetIn);
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signing_certificate_that_is_wrong_is_not_published() {
    let hub = Hub::start().await;
    let channel = raw::channel(hub.address(), &hub.credentials(UNBOUND));
    let mut service = CovenantServiceClient::new(channel);
    let mut publish = async |credentials: Credentials| {
        let certificates: Vec<Bytes> = CertificateDer::pem_slice_iter(credentials.certificate.as_bytes())
            .map(|der| Bytes::from(der.unwrap().to_vec()))
            .collect();
        let (leaf, chain) = certificates.split_first().unwrap();
        let request = PublishCertificateRequest { leaf: leaf.clone(), chain: chain.to_vec(), seen_size: 0 };
        service.publish_certificate(request).await.map(|_| ())
    };
    let mut wrong = Vec::new();
    for what in Wrong::ALL {
        let credentials = hub.world().wrong(Use::Signing, what, now()).unwrap();
        let expected: &[&str] = match what {
            Wrong::Expired | Wrong::NotYetValid => &["CHAIN_DATES"],
            Wrong::Revoked => &["CERTIFICATE_REVOKED"],
            Wrong::ForeignAuthority | Wrong::OtherHierarchy | Wrong::SelfSigned => &["CHAIN_UNKNOWN_ISSUER"],
            Wrong::NoOin | Wrong::TwoOins => &["CERTIFICATE_OIN"],
            Wrong::UnknownOin | Wrong::ServerCertificate => &["CERTIFICATE_NOT_OWN"],
            Wrong::Usage => &["CERTIFICATE_EKU"],
            Wrong::KeyBoundElsewhere => &["KEY_BOUND_ELSEWHERE", "CERTIFICATE_KEY"],
            Wrong::ShortRsa => &["KEY_RSA_SIZE"],
        };
        match publish(credentials.into()).await {
            Err(status) if expected.contains(&reason(&status).as_str()) => {}
            other => wrong.push(format!("{what:?}: {other:?}")),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let good = hub.world().good(Use::Signing, now()).unwrap();
    publish(good.into()).await.unwrap();
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_speaks_http2_with_nobody_who_does_not_ask_for_it() {
    let hub = Hub::start().await;
    let police = hub.credentials("police-amsterdam");
    let heard = raw::handshake_speaking(hub.address(), Some(&police), b"http/1.1").await;
    assert_eq!(heard, Handshake::Alert(AlertDescription::NoApplicationProtocol));
    hub.end().await;
}
