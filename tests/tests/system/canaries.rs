//! What the search for canaries proves, which is nothing unless it finds what was planted.
#![allow(clippy::unwrap_used, reason = "a test that unwraps what must be there fails at the line that says so")]

use std::path::Path;

use seinpost_tests::harness::hub::Hub;
use seinpost_tests::harness::logs;

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_is_planted_in_folder_log_or_counts_is_found() {
    let hub = Hub::start().await;
    let word = |place: &str| format!("Geplant{place}{}", std::process::id());
    let (file, log, count) = (word("Folder"), word("Log"), word("Counts"));
    let found = |word: &str| hub.search(&[word]).into_iter().map(|hit| hit.place).collect::<Vec<_>>();
    for word in [&file, &log, &count] {
        assert!(found(word).is_empty(), "{word} is not planted yet");
    }
    let planted = hub.data().join("planted");
    std::fs::write(&planted, format!("…{file}…")).unwrap();
    assert_eq!(found(&file), std::slice::from_ref(&planted));
    logs::add(format!("a gateway that logs {log}\n").as_bytes());
    assert_eq!(found(&log), [Path::new("log")]);
    metrics::counter!("seinpost_planted_total", "word" => count.clone()).increment(1);
    assert_eq!(found(&count), [Path::new("metrics")]);
    std::fs::remove_file(planted).unwrap();
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[should_panic(expected = "words of contents were found at the hub")]
async fn a_test_whose_hub_holds_a_canary_fails() {
    let hub = Hub::start().await;
    std::fs::write(hub.data().join("leak"), hub.canary()).unwrap();
    hub.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[should_panic(expected = "it was not searched for canaries")]
async fn a_test_that_forgets_to_end_its_hub_fails() {
    let _hub = Hub::start().await;
}
