//! Peers that make the gateway open streams for nothing: they are cut, and whoever else is connected hears nothing of it.
//!
//! What they send is written by hand, frame by frame, since no client library lets one be so rude.

#![allow(clippy::unwrap_used, reason = "a test that unwraps what must be there fails at the line that says so")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Hub, client, connect};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const SETTINGS: u8 = 0x4;
const GOAWAY: u8 = 0x7;
const WINDOW_UPDATE: u8 = 0x8;
const END_HEADERS: u8 = 0x4;
const ENHANCE_YOUR_CALM: u32 = 0xb;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The beginning of a call: method POST and scheme https by their index, path and authority as they are.
fn call(stream: u32) -> Vec<u8> {
    let path = b"/seinpost.v1.ExchangeService/Submit";
    let block = [&[0x83, 0x87, 0x04, path.len() as u8], &path[..], &[0x01, 3], b"hub"].concat();
    frame(HEADERS, END_HEADERS, stream, &block)
}

/// Opens so many streams, each followed by `rudeness`; returns the code with which the gateway ends the connection.
async fn ended_with(hub: &Hub, streams: u32, rudeness: impl Fn(u32) -> Vec<u8>) -> Option<u32> {
    let folder = hub.world.identity_folder("shelter");
    let read = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap();
    let config = Arc::new(client(&read("tls.pem"), &read("tls.key")));
    let mut connection = connect(hub.address(), config).await.unwrap();
    let mut bytes = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    for stream in (1..).step_by(2).take(streams as usize) {
        bytes.extend(call(stream));
        bytes.extend(rudeness(stream));
    }
    // The gateway may be gone before it has read all of it.
    let _ = connection.write_all(&bytes).await;
    let mut answer = Vec::new();
    let reading = connection.read_to_end(&mut answer);
    // It ends when the connection is cut; one that is not cut is silent, and the bound is for that.
    let _ = tokio::time::timeout(Duration::from_secs(60), reading).await;
    let mut rest = answer.as_slice();
    while let Some((head, behind)) = rest.split_at_checked(9) {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let (payload, behind) = behind.split_at_checked(length)?;
        if head[3] == GOAWAY {
            return Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
        }
        rest = behind;
    }
    None
}

/// Asserts that such a peer is cut, and that a good one is served before and after.
async fn check_cut(streams: u32, rudeness: impl Fn(u32) -> Vec<u8>) {
    let mut hub = Hub::start().await;
    let police = hub.agency("police-amsterdam");
    police.seen().await;
    assert_eq!(ended_with(&hub, streams, rudeness).await, Some(ENHANCE_YOUR_CALM));
    police.seen().await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_opens_streams_and_resets_them_is_cut() {
    check_cut(1000, |stream| frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_makes_the_gateway_reset_streams_is_cut_at_a_number_of_ours() {
    // A window beyond what a number holds is an error of its stream, which the gateway must then reset. The library alone
    // would bear a thousand.
    check_cut(400, |stream| frame(WINDOW_UPDATE, 0, stream, &0x7fff_ffff_u32.to_be_bytes())).await;
}
