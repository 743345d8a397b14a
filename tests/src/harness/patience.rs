//! Waiting for a fact: as long as a slow machine needs, and never for ever.
//!
//! A test that waits for a while proves nothing on a machine that takes longer. It waits for what must happen, and fails
//! by what did not, when even a slow and busy machine would have been done long ago.

use std::future::Future;
use std::time::Duration;

/// How long a test waits for what must come; a test that passes never waits so long.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// How long it rests before it asks again.
const REST: Duration = Duration::from_millis(10);

/// Waits for what must come.
///
/// # Panics
/// If it does not come.
pub async fn within<T>(what: &str, coming: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, coming).await {
        Ok(came) => came,
        Err(_) => panic!("not within {PATIENCE:?}: {what}"),
    }
}

/// Asks again and again for what must be there at last, where nothing tells when it is.
///
/// # Panics
/// If it never is.
pub async fn at_last<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            match ask().await {
                Some(there) => return there,
                None => tokio::time::sleep(REST).await,
            }
        }
    };
    within(what, asking).await
}
