//! Numbers for the operator: what the rooms count, in Prometheus' text form, on a loopback port.
//!
//! Rooms count with the `metrics` macros where the thing happens; this one keeps the counts and answers `GET /metrics`.
//! It speaks plain HTTP to loopback alone and knows no other path. No label ever holds an agency, an address or an id:
//! who writes to whom is sensitive, and metrics travel far.

use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// How long one reader may take: it is on this machine.
const READ_TIME_MAX: Duration = Duration::from_secs(5);
/// Bytes of a request: a `GET` with a few headers.
const REQUEST_BYTES_MAX: usize = 8 * 1024;
/// Readers at one time: one scraper, and a person beside it.
const READERS_MAX: usize = 8;
/// Upper ends of the time classes in seconds: an answer takes milliseconds, a fault ten seconds.
const SECONDS: [f64; 12] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 10.0];

/// Returns the counts of this process. There is one set per process, however many gateways a test starts in it.
fn counts() -> &'static PrometheusHandle {
    static COUNTS: OnceLock<PrometheusHandle> = OnceLock::new();
    COUNTS.get_or_init(|| {
        let builder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
            .expect("the classes are not empty");
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        // Fails only if somebody else installed one, which nobody in this program does.
        let _ = metrics::set_global_recorder(recorder);
        handle
    })
}

/// Starts to count; what was counted before this is lost.
pub fn begin() {
    counts();
}

/// Puts measured times into their classes. Until then each is kept by itself, so that without a reader they would fill the
/// memory of a busy gateway in days; whoever looks after it calls this every few seconds.
pub fn upkeep() {
    counts().run_upkeep();
}

/// Returns all counts in Prometheus' text form.
#[must_use]
pub fn render() -> String {
    upkeep();
    counts().render()
}

/// Answers readers until `stop` turns true.
pub async fn serve(listener: TcpListener, mut stop: watch::Receiver<bool>) {
    let mut readers = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            Some(_) = readers.join_next() => continue,
            accepted = listener.accept(), if readers.len() < READERS_MAX => accepted,
        };
        match accepted {
            Ok((socket, _)) => {
                readers.spawn(async move {
                    // A reader that fails or dawdles loses its answer, and nothing else happens.
                    let _ = timeout(READ_TIME_MAX, answer(socket)).await;
                });
            }
            // Out of descriptors, most likely: it passes.
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Reads one request and answers it.
async fn answer(mut socket: TcpStream) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        if request.len() > REQUEST_BYTES_MAX || socket.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let (status, body) = match request.split(|byte| *byte == b' ').nth(1) {
        Some(b"/metrics") => ("200 OK", render()),
        _ => ("404 Not Found", "metrics are at /metrics\n".to_owned()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    socket.write_all(head.as_bytes()).await?;
    socket.write_all(body.as_bytes()).await?;
    socket.shutdown().await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that unwraps what must be there fails at the line that says so")]

    use super::*;

    async fn get(path: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let serving = tokio::spawn(serve(listener, stopped));
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(format!("GET {path} HTTP/1.1\r\nHost: here\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        stop.send(true).unwrap();
        serving.await.unwrap();
        answer
    }

    #[tokio::test]
    async fn counts_are_read_as_text() {
        begin();
        metrics::counter!("seinpost_test_total").increment(3);
        let answer = get("/metrics").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        assert!(answer.lines().any(|line| line == "seinpost_test_total 3"), "{answer}");
    }

    #[tokio::test]
    async fn no_other_path_is_answered() {
        assert!(get("/").await.starts_with("HTTP/1.1 404"));
    }
}
