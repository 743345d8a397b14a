//! Points in time as the exchange writes them: whole milliseconds of UTC, from 2020 up to but not including 2100.
//!
//! A range is stated because a date outside it is a fault of somebody's clock, and whole milliseconds because two
//! implementations that round differently would sign different bytes. This module reads no clock.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// A point in time: milliseconds since 1970-01-01T00:00:00Z, within [2020-01-01, 2100-01-01).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// 2020-01-01T00:00:00Z in milliseconds.
const FIRST_MILLIS: i64 = 1_577_836_800_000;
/// 2100-01-01T00:00:00Z in milliseconds.
const END_MILLIS: i64 = 4_102_444_800_000;

impl Timestamp {
    /// The earliest time that can be written: 2020-01-01T00:00:00Z.
    pub const FIRST: Self = Self(FIRST_MILLIS);
    /// The latest time that can be written: one millisecond before 2100-01-01T00:00:00Z.
    pub const LAST: Self = Self(END_MILLIS - 1);

    /// Returns the time at so many milliseconds since 1970, or `None` outside 2020–2100.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Option<Self> {
        if millis >= FIRST_MILLIS && millis < END_MILLIS { Some(Self(millis)) } else { None }
    }

    /// Returns the time at so many milliseconds since 1970, moved into 2020–2100 if it lies outside.
    #[must_use]
    pub const fn clamped(millis: i64) -> Self {
        if millis < FIRST_MILLIS {
            Self::FIRST
        } else if millis >= END_MILLIS {
            Self::LAST
        } else {
            Self(millis)
        }
    }

    /// Returns the milliseconds since 1970.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Returns how much later this time is than `earlier`; zero if it is not.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0 - earlier.0).unwrap_or(0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    /// Adds, stopping at the end of 2099.
    fn add(self, duration: Duration) -> Self {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self::clamped(self.0.saturating_add(millis))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    /// Subtracts, stopping at the start of 2020.
    fn sub(self, duration: Duration) -> Self {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self::clamped(self.0.saturating_sub(millis))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// RFC 3339 in UTC, with milliseconds where there are any.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = jiff::Timestamp::from_millisecond(self.0).expect("2020–2100 lies within jiff's range");
        write!(f, "{time}")
    }
}

impl From<Timestamp> for prost_types::Timestamp {
    fn from(time: Timestamp) -> Self {
        let nanos = i32::try_from(time.0 % 1000).expect("a remainder of 1000 fits") * 1_000_000;
        Self { seconds: time.0 / 1000, nanos }
    }
}

impl TryFrom<&prost_types::Timestamp> for Timestamp {
    type Error = OutOfRange;

    fn try_from(time: &prost_types::Timestamp) -> Result<Self, OutOfRange> {
        if time.nanos % 1_000_000 != 0 || !(0..1_000_000_000).contains(&time.nanos) {
            return Err(OutOfRange);
        }
        let millis =
            time.seconds.checked_mul(1000).and_then(|millis| millis.checked_add(i64::from(time.nanos) / 1_000_000));
        millis.and_then(Self::from_millis).ok_or(OutOfRange)
    }
}

/// Reads a day of the calendar, written `YYYY-MM-DD` and in no other way that ISO 8601 knows; `None` unless it exists.
pub(crate) fn parse_day(text: &str) -> Option<jiff::civil::Date> {
    let bytes = text.as_bytes();
    let is_right = |(at, byte): (usize, &u8)| if at == 4 || at == 7 { *byte == b'-' } else { byte.is_ascii_digit() };
    if bytes.len() != 10 || !bytes.iter().enumerate().all(is_right) {
        return None;
    }
    jiff::civil::Date::new(text[..4].parse().ok()?, text[5..7].parse().ok()?, text[8..].parse().ok()?).ok()
}

/// The time is not whole milliseconds within 2020–2100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a time must be whole milliseconds from 2020-01-01 up to 2100-01-01")]
pub struct OutOfRange;
