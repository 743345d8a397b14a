//! Who may make which call, of whose objects, and with how long a message: every call of the descriptors.
#![allow(clippy::unwrap_used, reason = "a test that unwraps what must be there fails at the line that says so")]

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message as _;
use seinpost_client::error::Kind;
use seinpost_protocol::DESCRIPTORS;
use seinpost_protocol::wire::{self, SignalType};
use seinpost_tests::harness::agency;
use seinpost_tests::harness::hub::Hub;
use seinpost_tests::harness::raw::{self, reason};
use tonic::Code;

/// Who calls: an agency, and the two functions at the hub.
const ROLES: [&str; 3] = ["police-amsterdam", "operator", "auditor"];
const EVERYBODY: [bool; 3] = [true, true, true];
const AGENCIES: [bool; 3] = [true, false, false];

const KIB: usize = 1024;

/// For each call who may make it, in the order of [`ROLES`], and the longest message that it takes.
fn expected() -> BTreeMap<&'static str, ([bool; 3], usize)> {
    BTreeMap::from([
        ("/seinpost.v1.ExchangeService/Submit", (AGENCIES, 1280 * KIB)),
        ("/seinpost.v1.ExchangeService/SubmitStream", (AGENCIES, 1280 * KIB)),
        ("/seinpost.v1.ExchangeService/Receive", (AGENCIES, 64 * KIB)),
        ("/seinpost.v1.ExchangeService/GetItem", (AGENCIES, 64 * KIB)),
        ("/seinpost.v1.ExchangeService/ListItems", (AGENCIES, 64 * KIB)),
        ("/seinpost.v1.CovenantService/GetCovenant", (EVERYBODY, 64 * KIB)),
        ("/seinpost.v1.CovenantService/PublishCertificate", (EVERYBODY, 64 * KIB)),
        ("/seinpost.v1.CovenantService/GetCertificate", (EVERYBODY, 64 * KIB)),
        ("/seinpost.v1.CovenantService/GetRevocationList", (EVERYBODY, 64 * KIB)),
        ("/seinpost.v1.CovenantService/GetKeyStatements", (EVERYBODY, 64 * KIB)),
        ("/seinpost.v1.AuditService/GetCheckpoint", (EVERYBODY, 64 * KIB)),
        ("/seinpost.v1.AuditService/GetInclusionProof", (EVERYBODY, 64 * KIB)),
        ("/seinpost.v1.AuditService/GetConsistencyProof", (EVERYBODY, 64 * KIB)),
        ("/seinpost.v1.AuditService/ListRecords", ([true, false, true], 64 * KIB)),
        ("/seinpost.v1.OperationsService/ListDeliveries", ([false, true, false], 64 * KIB)),
        ("/grpc.health.v1.Health/Check", (EVERYBODY, 64 * KIB)),
    ])
}

/// Every call of the project's own services, from the descriptors, and health, which is another's.
fn described() -> Vec<String> {
    let set = prost_types::FileDescriptorSet::decode(DESCRIPTORS).unwrap();
    let mut paths = vec!["/grpc.health.v1.Health/Check".to_owned()];
    for file in &set.file {
        for service in &file.service {
            let path = |method: &prost_types::MethodDescriptorProto| {
                format!("/{}.{}/{}", file.package(), service.name(), method.name())
            };
            paths.extend(service.method.iter().map(path));
        }
    }
    paths
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_is_open_to_those_whom_the_table_names_and_closed_to_all_others() {
    let hub = Hub::start().await;
    let expected = expected();
    let described = described();
    assert_eq!(described.len(), expected.len(), "{described:#?}");
    let mut wrong = Vec::new();
    for path in &described {
        let (who, _) = expected.get(path.as_str()).unwrap_or_else(|| panic!("{path} has no row: who may make it?"));
        for (role, may) in ROLES.iter().zip(who) {
            let channel = raw::channel(hub.address(), &hub.credentials(role));
            let heard = match raw::call(&channel, path, Bytes::new()).await {
                Ok(_) => "OK".to_owned(),
                Err(status) if status.code() == Code::PermissionDenied => reason(&status),
                // It was let through, and said something about the empty message.
                Err(_) => "OK".to_owned(),
            };
            let fits = if *may { heard == "OK" } else { heard == "NOT_PERMITTED" };
            if !fits {
                wrong.push(format!("{role} at {path}: {heard}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_byte_over_the_bound_of_a_call_is_too_much_and_the_bound_itself_is_not() {
    let hub = Hub::start().await;
    let mut wrong = Vec::new();
    for (path, (who, bytes_max)) in expected() {
        let role = ROLES.iter().zip(who).find(|(_, may)| *may).unwrap().0;
        let channel = raw::channel(hub.address(), &hub.credentials(role));
        for (bytes, is_too_much) in [(bytes_max, false), (bytes_max + 1, true)] {
            // No message of any call: what is short enough is read and found to be none, or has fields of later versions.
            let heard = match raw::call(&channel, path, vec![0xff; bytes].into()).await {
                Ok(_) => "OK".to_owned(),
                Err(status) => reason(&status),
            };
            if (heard == "MESSAGE_TOO_LARGE") != is_too_much {
                wrong.push(format!("{bytes} bytes to {path}: {heard}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_first_is_the_right_to_the_call_then_its_length_then_its_form() {
    let hub = Hub::start().await;
    let police = raw::channel(hub.address(), &hub.credentials("police-amsterdam"));
    let operator = raw::channel(hub.address(), &hub.credentials("operator"));
    let large = Bytes::from(vec![0xff; 2 * 1024 * KIB]);
    let heard = async |channel, path, message: &Bytes| {
        let status = raw::call(channel, path, message.clone()).await.unwrap_err();
        (status.code(), reason(&status))
    };
    let submit = "/seinpost.v1.ExchangeService/Submit";
    assert_eq!(heard(&operator, submit, &large).await, (Code::PermissionDenied, "NOT_PERMITTED".to_owned()));
    assert_eq!(heard(&police, submit, &large).await, (Code::ResourceExhausted, "MESSAGE_TOO_LARGE".to_owned()));
    let garbage = Bytes::from_static(&[0xff; 100]);
    assert_eq!(heard(&police, submit, &garbage).await, (Code::InvalidArgument, "MALFORMED".to_owned()));
    for path in ["/seinpost.v1.ExchangeService/Delete", "/seinpost.v2.ExchangeService/Submit", "/"] {
        assert_eq!(heard(&police, path, &large).await, (Code::Unimplemented, "NO_SUCH_CALL".to_owned()), "{path}");
    }
    // Reflection is served only where the configuration says so.
    let reflection = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    assert_eq!(heard(&police, reflection, &Bytes::new()).await.0, Code::Unimplemented);
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_foreign_and_what_does_not_exist_sound_alike() {
    let hub = Hub::start().await;
    let safe_home = hub.client("safe-home-amsterdam").await;
    let police = hub.client("police-amsterdam").await;
    let submitted = agency::send(&police, &hub.example(SignalType::ExploitationSignal)).await.unwrap();
    let nobody = wire::Address { oin: "00000099999999999999".to_owned(), function: wire::Function::SafeHome.into() };
    let prosecution = hub.world().address("prosecution-amsterdam").unwrap();
    let channel = raw::channel(hub.address(), &hub.credentials("prosecution-amsterdam"));
    let heard = async |path: &str, message: Vec<u8>| {
        let status = raw::call(&channel, path, message.into()).await.unwrap_err();
        (status.code(), status.message().to_owned(), status.details().to_vec())
    };
    let get = "/seinpost.v1.ExchangeService/GetItem";
    let item = |address: wire::Address, digest: Bytes| wire::GetItemRequest {
        address: Some(address),
        which: Some(wire::get_item_request::Which::ItemDigest(digest)),
        seen_size: 0,
    };
    let none = heard(get, item(prosecution.into(), Bytes::from_static(&[1; 32])).encode_to_vec()).await;
    assert_eq!(none.0, Code::NotFound);
    for foreign in [
        // Another's item in one's own name, in its owner's name, in nobody's name.
        item(prosecution.into(), submitted.digest.into()),
        item(police.address().into(), submitted.digest.into()),
        item(nobody.clone(), submitted.digest.into()),
    ] {
        assert_eq!(heard(get, foreign.encode_to_vec()).await, none);
    }
    let id = wire::get_item_request::Which::ItemId(submitted.id.to_string());
    let by_id = wire::GetItemRequest { address: Some(prosecution.into()), which: Some(id), seen_size: 0 };
    assert_eq!(heard(get, by_id.encode_to_vec()).await, none);
    for address in [safe_home.address().into(), nobody] {
        let receive = wire::ReceiveRequest { address: Some(address), after: 0, seen_size: 0 };
        assert_eq!(heard("/seinpost.v1.ExchangeService/Receive", receive.encode_to_vec()).await, none);
        let list = wire::ListItemsRequest { address: receive.address, ..Default::default() };
        assert_eq!(heard("/seinpost.v1.ExchangeService/ListItems", list.encode_to_vec()).await, none);
    }
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn participants_open_their_own_records_and_those_for_all_and_an_auditor_opens_every_one() {
    let hub = Hub::start().await;
    let safe_home = hub.client("safe-home-amsterdam").await;
    let police = hub.client("police-amsterdam").await;
    agency::send(&police, &hub.example(SignalType::ExploitationSignal)).await.unwrap();
    let size = police.checkpoint().await.unwrap().pin.size;
    let rows = async |identity: &str| {
        let channel = raw::channel(hub.address(), &hub.credentials(identity));
        let request = wire::ListRecordsRequest { from: 0, to: size };
        let answers =
            raw::call(&channel, "/seinpost.v1.AuditService/ListRecords", request.encode_to_vec().into()).await;
        let rows: Vec<_> =
            answers.unwrap().into_iter().map(|row| wire::ListRecordsResponse::decode(row).unwrap()).collect();
        assert!(rows.iter().map(|row| row.index).eq(0..size), "every leaf has its commitment");
        rows
    };
    for client in [&police, &safe_home] {
        let own = wire::audience::Of::Address(client.address().into());
        let all = wire::audience::Of::Group(wire::Group::All.into());
        let identity = if client.address() == police.address() { "police-amsterdam" } else { "safe-home-amsterdam" };
        let mut closed = 0;
        for row in rows(identity).await {
            assert!(row.item.is_none(), "items are for auditors");
            if row.record.is_empty() {
                closed += 1;
                continue;
            }
            let audience = wire::Record::decode(row.record).unwrap().audience.unwrap().of.unwrap();
            assert!([&own, &all].contains(&&audience), "{audience:?}");
        }
        assert!(closed > 0, "there are records of others");
    }
    let rows = rows("auditor").await;
    assert!(rows.iter().all(|row| !row.record.is_empty()));
    let acceptances = rows.iter().filter(|row| {
        let record = wire::Record::decode(row.record.clone()).unwrap();
        matches!(record.event, Some(wire::record::Event::SubmissionAcceptance(_)))
    });
    assert!(acceptances.clone().count() >= 3 && acceptances.clone().all(|row| row.item.is_some()));
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_look_of_an_operator_or_auditor_is_a_record_that_the_auditor_finds() {
    let hub = Hub::start().await;
    let safe_home = hub.client("safe-home-amsterdam").await;
    let police = hub.client("police-amsterdam").await;
    for _ in 0..3 {
        agency::send(&police, &hub.example(SignalType::ExploitationSignal)).await.unwrap();
    }
    let operator = hub.open("operator");
    // A list of two pages is one look.
    let first = operator.deliveries(None, false, 2, None).await.unwrap();
    assert_eq!(first.rows.len(), 2);
    let second = operator.deliveries(None, false, 2, first.next.as_deref()).await.unwrap();
    assert_eq!((second.rows.len(), second.next), (1, None));
    let channel = raw::channel(hub.address(), &hub.credentials("auditor"));
    let looks = async || {
        let path = "/seinpost.v1.AuditService/ListRecords";
        let answers = raw::call(&channel, path, Bytes::new()).await.unwrap();
        let record = |row: Bytes| wire::Record::decode(wire::ListRecordsResponse::decode(row).unwrap().record).unwrap();
        let look = |record: wire::Record| match record.event {
            Some(wire::record::Event::Access(access)) => {
                Some((access.who.unwrap().function, access.call, record.audience.unwrap()))
            }
            _ => None,
        };
        answers.into_iter().map(record).filter_map(look).collect::<Vec<_>>()
    };
    looks().await;
    let oversight = wire::Audience { of: Some(wire::audience::Of::Group(wire::Group::Oversight.into())) };
    let who: Vec<_> = looks().await;
    let operator = who.iter().filter(|(function, ..)| *function == i32::from(wire::Function::Operator)).count();
    let auditor = who.iter().filter(|(function, ..)| *function == i32::from(wire::Function::Auditor)).count();
    assert_eq!(operator, 1, "{who:?}");
    assert!(auditor >= 1, "{who:?}");
    assert!(who.iter().all(|(_, _, audience)| *audience == oversight));
    // An agency is not shown who looked.
    let refused = police.deliveries(None, false, 0, None).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::NotAllowed);
    drop(safe_home);
    hub.end().await;
}
