//! All that the gateways of this process, and those started by it, wrote for their operators.

use std::io::Write;
use std::sync::{Mutex, Once, PoisonError};

static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// Begins to capture what is logged in this process, at every level that the gateway has.
pub fn capture() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let filter = tracing_subscriber::EnvFilter::new("info,seinpost_gateway=trace,seinpost_core=trace");
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(|| Captured).init();
    });
}

/// Returns how much was captured so far.
#[must_use]
pub fn mark() -> usize {
    LOG.lock().unwrap_or_else(PoisonError::into_inner).len()
}

/// Returns what was captured since a mark.
#[must_use]
pub fn captured_since(mark: usize) -> Vec<u8> {
    LOG.lock().unwrap_or_else(PoisonError::into_inner)[mark..].to_vec()
}

/// Adds what a process of its own wrote.
pub fn add(bytes: &[u8]) {
    LOG.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
}

struct Captured;

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        add(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
