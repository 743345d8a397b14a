//! The door: who gets in, what a message may weigh, what a silent socket costs, and how everything ends.

#![allow(clippy::unwrap_used, reason = "a test that unwraps what must be there fails at the line that says so")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::{Agency, Hub, at_last, channel, client, connect, now, reason, refused, within};
use seinpost_certs::world::Wrong;
use seinpost_gateway::adopt::Covenants;
use seinpost_gateway::authorize::{Authorize, CALLS, Call, Who};
use seinpost_gateway::budget::Budget;
use seinpost_gateway::clock::Clock;
use seinpost_gateway::serve::Options;
use seinpost_protocol::wire::{self, Use};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Service as _, ServiceExt as _};

/// Sends bytes as a call's whole request body, and returns how the call ended.
async fn raw(agency: &Agency, path: &str, body: Vec<u8>) -> Status {
    let request = http::Request::post(format!("http://hub{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Body::new(http_body_util::Full::new(Bytes::from(body))))
        .unwrap();
    let mut channel = agency.channel.clone();
    let response = channel.ready().await.unwrap().call(request).await.unwrap();
    if let Some(status) = Status::from_header_map(response.headers()) {
        return status;
    }
    let body = http_body_util::BodyExt::collect(response.into_body()).await;
    match body {
        Ok(body) => body.trailers().and_then(Status::from_header_map).unwrap_or_else(|| Status::unknown("no status")),
        Err(status) => status,
    }
}

/// One gRPC message: five bytes, of which four say the length, and so many zeros.
fn message(length: usize, sent: usize) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend(u32::try_from(length).unwrap().to_be_bytes());
    bytes.resize(5 + sent, 0);
    bytes
}

fn own_calls() -> impl Iterator<Item = &'static Call> {
    CALLS.iter().filter(|call| call.path.starts_with("/seinpost."))
}

/// Somebody who may make a call.
fn allowed<'a>(call: &Call, police: &'a Agency, operator: &'a Agency) -> &'a Agency {
    match call.who {
        Who::Operator => operator,
        Who::Peer | Who::Participant | Who::ParticipantOrAuditor => police,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_byte_over_is_refused_by_every_call_and_the_bound_itself_is_not() {
    let mut hub = Hub::start().await;
    let (police, operator) = (hub.agency("police-amsterdam"), hub.agency("operator"));
    assert!(own_calls().count() >= 15);
    for call in own_calls() {
        let agency = allowed(call, &police, &operator);
        let over = call.request_bytes_max + 1;
        let status = raw(agency, call.path, message(over, over)).await;
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::ResourceExhausted, "MESSAGE_TOO_LARGE"),
            "{}",
            call.path
        );
        let exact = call.request_bytes_max;
        let status = raw(agency, call.path, message(exact, exact)).await;
        assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "MALFORMED"), "{}", call.path);
    }
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_is_open_to_whom_the_table_names_and_to_nobody_else() {
    let mut hub = Hub::start().await;
    let roles = [
        ("police-amsterdam", [Who::Peer, Who::Participant, Who::ParticipantOrAuditor].as_slice()),
        ("mayor-amsterdam", &[Who::Peer, Who::Participant, Who::ParticipantOrAuditor]),
        ("operator", &[Who::Peer, Who::Operator]),
        ("auditor", &[Who::Peer, Who::ParticipantOrAuditor]),
    ];
    for (role, may) in roles {
        let agency = hub.agency(role);
        for call in own_calls() {
            // One byte that is no protobuf: whoever is let in hears that, and nothing is done.
            let status = raw(&agency, call.path, vec![0, 0, 0, 0, 1, 0xff]).await;
            let expected = if may.contains(&call.who) {
                (Code::InvalidArgument, "MALFORMED")
            } else {
                (Code::PermissionDenied, "NOT_PERMITTED")
            };
            assert_eq!((status.code(), reason(&status).as_str()), expected, "{role} {}", call.path);
        }
        let status = raw(&agency, "/seinpost.v1.ExchangeService/Delete", message(0, 0)).await;
        assert_eq!((status.code(), reason(&status).as_str()), (Code::Unimplemented, "NO_SUCH_CALL"));
    }
    hub.stop().await;
}

#[tokio::test]
async fn a_request_without_a_proven_peer_is_denied() {
    // No connection of ours lacks its peer; a fault that made one must not open the door.
    let hub = Hub::made();
    let covenants = Covenants::new(vec![hub.covenant()]);
    let gate = Authorize::new(covenants, Budget::new(1 << 20, 1 << 20), Arc::new(now));
    let inner = tower::service_fn(|_: http::Request<Body>| async { panic!("nothing may come through") });
    let mut gated = tower::Layer::layer(&gate, inner.map_response(|never: http::Response<Body>| never));
    for call in CALLS {
        let request = http::Request::post(call.path).body(Body::empty()).unwrap();
        let response = gated.call(request).await.unwrap();
        let status = Status::from_header_map(response.headers()).unwrap();
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::PermissionDenied, "NOT_PERMITTED"),
            "{}",
            call.path
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_of_age_is_asked_to_end_and_a_new_one_goes_on() {
    let mut hub = Hub::made();
    let mut config = hub.config();
    config.connections.age = Duration::from_secs(1);
    hub.go_with(config, Options::default()).await.unwrap();
    let police = hub.agency("police-amsterdam");
    // A busy machine may be so slow that the connection is of age before the head has come; then it is asked again.
    let open = async || {
        let mut mailbox = police.receive(0).await.ok()?;
        mailbox.message().await.ok()?.map(|_| mailbox)
    };
    let mut mailbox = at_last("the mailbox is open", open).await;
    let end = within("it is asked to end", mailbox.message()).await;
    refused(end, Code::Unavailable, "DRAINING");
    // The same client connects anew, and nothing is lost.
    at_last("the mailbox is open again", open).await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_certificate_gets_no_byte_of_grpc() {
    let mut hub = Hub::start().await;
    for wrong in Wrong::ALL {
        let credentials = hub.world.wrong(Use::Transport, wrong, now()).unwrap();
        let config = Arc::new(client(&credentials.certificate_pem, &credentials.key_pem));
        let read = match connect(hub.address(), config).await {
            Err(error) => Err(error),
            Ok(mut stream) => {
                let _ = stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
                stream.read(&mut [0; 64]).await
            }
        };
        let error = read.expect_err("nothing is read but the alert");
        assert!(error.to_string().contains("AccessDenied"), "{wrong:?}: {error}");
    }
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_for_every_known_peer_and_reflection_only_where_it_is_configured() {
    use tonic_health::pb::health_client::HealthClient;
    use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};

    let mut hub = Hub::start().await;
    for role in ["police-amsterdam", "operator", "auditor"] {
        let mut health = HealthClient::new(hub.agency(role).channel);
        let answer = health.check(HealthCheckRequest::default()).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving);
    }
    let path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    let status = raw(&hub.agency("police-amsterdam"), path, message(0, 0)).await;
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unimplemented, "NO_SUCH_CALL"));
    hub.stop().await;

    let config = seinpost_gateway::config::Config { reflection: true, ..hub.config() };
    hub.go_with(config, Options::default()).await.unwrap();
    let status = raw(&hub.agency("police-amsterdam"), path, message(0, 0)).await;
    assert_ne!(status.code(), Code::Unimplemented, "{status}");
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_sockets_are_dropped_and_cost_a_good_client_nothing() {
    let mut hub = Hub::made();
    let mut config = hub.config();
    (config.connections.handshake, config.connections.preface) = (Duration::from_secs(5), Duration::from_secs(5));
    config.connections.handshakes_per_source_max = 8;
    hub.go_with(config, Options::default()).await.unwrap();
    let police = hub.agency("police-amsterdam");
    police.seen().await;

    // Some that never shake hands, some that do and then say nothing.
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(TcpStream::connect(hub.address()).await.unwrap());
    }
    let folder = hub.world.identity_folder("shelter");
    let read = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap();
    let shelter = Arc::new(client(&read("tls.pem"), &read("tls.key")));
    // The newest is served, the slowest make room. (A busy machine may be slower than the bound; then it tries again.)
    let mut shaken =
        at_last("the newest shakes hands", async || connect(hub.address(), shelter.clone()).await.ok()).await;
    // A new connection is made among them, and an old one answers.
    let fresh = channel(hub.address(), &read("tls.pem"), &read("tls.key"));
    let mut fresh = seinpost_rpc::audit_service_client::AuditServiceClient::new(fresh);
    let request = wire::GetCheckpointRequest { seen_size: 0 };
    at_last("a new connection is served", async || fresh.get_checkpoint(request).await.ok()).await;
    police.seen().await;

    // What comes first is the server's own preface; then the connection ends, although nobody said anything.
    let mut bytes = Vec::new();
    let _ = within("who says nothing is dropped", shaken.read_to_end(&mut bytes)).await;
    for mut socket in silent {
        let gone = within("who shakes no hands is dropped", socket.read(&mut [0; 1])).await;
        assert!(matches!(gone, Ok(0) | Err(_)), "it is dropped");
    }
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_open_streams_and_silent_connections_within_the_drain_time() {
    let mut hub = Hub::made();
    let mut config = hub.config();
    config.connections.drain = Duration::from_secs(5);
    hub.go_with(config, Options::default()).await.unwrap();
    let police = hub.agency("police-amsterdam");
    let mut mailbox = police.receive(0).await.unwrap();
    mailbox.message().await.unwrap();
    let folder = hub.world.identity_folder("shelter");
    let read = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap();
    let _silent = connect(hub.address(), Arc::new(client(&read("tls.pem"), &read("tls.key")))).await.unwrap();

    let stopping = hub.stop();
    let told = async {
        let status = mailbox.message().await;
        refused(status, Code::Unavailable, "DRAINING");
    };
    within("it has stopped", async { tokio::join!(stopping, told) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_participant_that_a_coming_covenant_suspends_is_cut_when_it_rules() {
    let mut hub = Hub::made();
    let oin = hub.world.address("shelter").unwrap().oin;
    let hour = Duration::from_secs(3600);
    let begins = now() + hour;
    let change = |covenant: &mut wire::Covenant| {
        covenant.valid_from = Some(begins.into());
        covenant.valid_until = Some((begins + Duration::from_secs(86_400)).into());
        covenant
            .participants
            .iter_mut()
            .filter(|other| other.oin == oin.as_str())
            .for_each(|other| other.suspended = true);
    };
    let next = hub.world.covenant_after(hub.world.covenant(), change, &[0, 1]).unwrap();
    hub.world.save_covenant(&next).unwrap();
    let (given, taken) = std::sync::mpsc::channel();
    let by_hand = move |last| {
        let (clock, hand) = Clock::by_hand(now(), last);
        given.send(hand).unwrap();
        clock
    };
    let options = Options { clock: Some(Box::new(by_hand)), ..Options::default() };
    hub.go_with(hub.config(), options).await.unwrap();
    let (shelter, police) = (hub.agency("shelter"), hub.agency("police-amsterdam"));
    let mut mailbox = shelter.receive(0).await.expect("the old covenant still rules");
    mailbox.message().await.unwrap();
    taken.recv().unwrap().pass(hour);
    within("its connection is cut", mailbox.message()).await.unwrap_err();
    shelter.receive(0).await.expect_err("no new one is made");
    police.seen().await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_bytes_under_way_are_refused_with_a_time_to_come_back_at() {
    let mut hub = Hub::made();
    let mut config = hub.config();
    config.memory_per_agency_bytes = 2 * 1024 * 1024;
    hub.go_with(config, Options::default()).await.unwrap();
    let police = hub.agency("police-amsterdam");
    let path = "/seinpost.v1.ExchangeService/Submit";
    // A call that states its length and then holds back takes what it states, and nothing more of the same agency fits. On
    // a busy machine its time may be over before another call was seen; then it is made again.
    let length = 1280 * 1024;
    let hold_back = async || {
        let (held, body) = tokio::sync::mpsc::channel::<Result<http_body::Frame<Bytes>, Status>>(1);
        let body = http_body_util::StreamBody::new(tokio_stream::wrappers::ReceiverStream::new(body));
        let request = http::Request::post(format!("http://hub{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Body::new(body))
            .unwrap();
        let mut slow = police.channel.clone();
        let slow = tokio::spawn(async move { slow.ready().await.unwrap().call(request).await });
        held.send(Ok(http_body::Frame::data(message(length, 100).into()))).await.unwrap();
        (slow, held)
    };
    let (mut slow, mut held) = hold_back().await;
    let refused = async || {
        let status = raw(&police, path, message(length, length)).await;
        if reason(&status) != "MALFORMED" {
            return Some(status);
        }
        if slow.is_finished() {
            (slow, held) = hold_back().await;
        }
        None
    };
    let refusal = at_last("there is no room", refused).await;
    assert_eq!((refusal.code(), reason(&refusal).as_str()), (Code::ResourceExhausted, "BUDGET"));
    assert!(tonic_types::StatusExt::get_details_retry_info(&refusal).is_some());
    // Another agency has its own share; and what was held comes back when the call is gone.
    let status = raw(&hub.agency("shelter"), path, message(length, length)).await;
    assert_eq!(reason(&status), "MALFORMED");
    slow.abort();
    drop(held);
    let has_room = async || (reason(&raw(&police, path, message(length, length)).await) == "MALFORMED").then_some(());
    at_last("the bytes are given back", has_room).await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_read_on_loopback_and_name_nobody() {
    let mut hub = Hub::start().await;
    let police = hub.agency("police-amsterdam");
    police.seen().await;
    let address = hub.running.as_ref().unwrap().metrics_address().unwrap();
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").await.unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).await.unwrap();
    assert!(
        text.contains("seinpost_calls_total{call=\"/seinpost.v1.AuditService/GetCheckpoint\",code=\"OK\"}"),
        "{text}"
    );
    assert!(text.contains("seinpost_intake_open 1"), "{text}");
    assert!(!text.contains(police.address.oin.as_str()));
    hub.stop().await;
}
