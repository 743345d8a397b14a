//! The one room of the client that reads the time of day.
//!
//! Everything else is given a [`Clock`] or a [`Timestamp`], so that tests choose the time.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use seinpost_protocol::time::Timestamp;

/// Says what time it is.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// Returns the machine's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Arc::new(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            Timestamp::clamped(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
        }))
    }

    /// Returns a clock that asks the given function, for tests and simulation.
    pub fn from_fn(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// Returns the time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}
