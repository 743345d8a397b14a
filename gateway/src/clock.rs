//! The one room that reads time.
//!
//! Out goes the time of day, unless the clock is in doubt: then nothing new may be recorded, nothing expires and
//! nothing is erased until an operator confirms it. A record's time never falls, so that one wrong reading far ahead
//! would bind the log to that time for ever. What is compared: the wall clock with the monotonic one while we run, and
//! with the last record when we start. The decisions stand in `Rule`; where a reading comes from does not matter to it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use seinpost_protocol::time::Timestamp;
use tracing::{error, warn};

/// How far the wall clock may move against the monotonic one. Well-kept clocks are corrected by milliseconds, a leap
/// second is one; a minute is somebody's hand or a broken server.
const JUMP_MAX: Duration = Duration::from_secs(60);
/// How far before the last record the clock may be at start: two gateways' clocks, or one before and after a restart.
const BEFORE_LAST_RECORD_MAX: Duration = Duration::from_secs(5);
/// How far after the last record the clock may be at start: a hub that was down for longer has an operator beside it.
const AFTER_LAST_RECORD_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// After how long the comparison begins anew, so that the small differences of years do not add up to a jump.
const COMPARED_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// Reads the time of day. Cheap to clone; all clones are in doubt together.
#[derive(Clone)]
pub struct Clock(Arc<Inner>);

struct Inner {
    source: Source,
    rule: Mutex<Rule>,
}

/// Where readings come from.
enum Source {
    /// The machine's clocks; the monotonic one counts from here.
    System(Instant),
    /// A test's hand.
    Hand(Hand),
}

/// Both clocks at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reading {
    /// Milliseconds since 1970.
    wall: i64,
    monotonic: Duration,
}

impl Clock {
    /// Reads the machine's clocks, against the time of the last record.
    #[must_use]
    pub fn system(last_record: Option<Timestamp>) -> Self {
        Self::new(Source::System(Instant::now()), last_record)
    }

    /// A clock that stands still until its hand is moved.
    #[must_use]
    pub fn by_hand(at: Timestamp, last_record: Option<Timestamp>) -> (Self, Hand) {
        let reading = Reading { wall: at.millis(), monotonic: Duration::ZERO };
        let hand = Hand(Arc::new(Mutex::new(reading)));
        (Self::new(Source::Hand(hand.clone()), last_record), hand)
    }

    fn new(source: Source, last_record: Option<Timestamp>) -> Self {
        let rule = Rule::start(source.read(), last_record);
        match rule.doubt {
            Some(doubt) => alarm(doubt),
            None => metrics::gauge!("seinpost_clock_in_doubt").set(0.0),
        }
        Self(Arc::new(Inner { source, rule: Mutex::new(rule) }))
    }

    /// Returns the time of day, or why it is in doubt. Doubt stays until somebody confirms.
    pub fn now(&self) -> Result<Timestamp, Doubt> {
        let mut rule = self.rule();
        let doubted = rule.doubt.is_some();
        let now = rule.judge(self.0.source.read());
        if let (Err(doubt), false) = (now, doubted) {
            alarm(doubt);
        }
        now
    }

    /// Returns what the wall clock says, in doubt or not, moved into 2020–2100: for whoever must say something.
    #[must_use]
    pub fn reading(&self) -> Timestamp {
        Timestamp::clamped(self.0.source.read().wall)
    }

    /// Returns the doubt, if there is one.
    #[must_use]
    pub fn doubt(&self) -> Option<Doubt> {
        self.now().err()
    }

    /// Takes the wall clock as it stands as right. Only an operator may say so, and the sequencer records it.
    pub fn confirm(&self) {
        let reading = self.0.source.read();
        warn!(time = %Timestamp::clamped(reading.wall), "the clock was confirmed");
        metrics::gauge!("seinpost_clock_in_doubt").set(0.0);
        *self.rule() = Rule { compared: reading, doubt: None };
    }

    fn rule(&self) -> MutexGuard<'_, Rule> {
        // Each change is one assignment, so that a panic elsewhere leaves it whole.
        self.0.rule.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({})", self.reading())
    }
}

/// Said once, when doubt begins.
fn alarm(doubt: Doubt) {
    error!(%doubt, "ALARM: the clock is in doubt; nothing is recorded until an operator confirms it");
    metrics::gauge!("seinpost_clock_in_doubt").set(1.0);
}

/// Measures how long something takes, for the operator's metrics.
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts to measure.
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Returns the seconds since then.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.0.elapsed().as_secs_f64()
    }
}

/// Why the clock is in doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// The wall clock moved against the monotonic one.
    #[error("the wall clock jumped by {} s", .0 / 1000)]
    Jumped(
        /// By so many milliseconds.
        i64,
    ),
    /// The clock was behind the last record at start.
    #[error("the clock is {} s before the last record", .0.as_secs())]
    BeforeLastRecord(Duration),
    /// The clock was far beyond the last record at start.
    #[error("the last record is {} h behind the clock", .0.as_secs() / 3600)]
    AfterLastRecord(Duration),
    /// The wall clock is outside of what a record can say.
    #[error("the wall clock is outside of 2020-2100")]
    OutOfRange,
}

/// The rule by itself: it is given readings and takes none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rule {
    /// The reading that the next ones are compared with.
    compared: Reading,
    doubt: Option<Doubt>,
}

impl Rule {
    fn start(first: Reading, last_record: Option<Timestamp>) -> Self {
        let mut rule = Self { compared: first, doubt: None };
        rule.doubt = match (Timestamp::from_millis(first.wall), last_record) {
            (None, _) => Some(Doubt::OutOfRange),
            (Some(_), None) => None,
            (Some(now), Some(last)) if now + BEFORE_LAST_RECORD_MAX < last => {
                Some(Doubt::BeforeLastRecord(last.since(now)))
            }
            (Some(now), Some(last)) if last + AFTER_LAST_RECORD_MAX < now => {
                Some(Doubt::AfterLastRecord(now.since(last)))
            }
            (Some(_), Some(_)) => None,
        };
        rule
    }

    fn judge(&mut self, reading: Reading) -> Result<Timestamp, Doubt> {
        if let Some(doubt) = self.doubt {
            return Err(doubt);
        }
        let passed = reading.monotonic.saturating_sub(self.compared.monotonic);
        let expected = self.compared.wall.saturating_add(i64::try_from(passed.as_millis()).unwrap_or(i64::MAX));
        let jump = reading.wall.saturating_sub(expected);
        let doubt = if u128::from(jump.unsigned_abs()) > JUMP_MAX.as_millis() {
            Doubt::Jumped(jump)
        } else if let Some(now) = Timestamp::from_millis(reading.wall) {
            if passed > COMPARED_FOR {
                self.compared = reading;
            }
            return Ok(now);
        } else {
            Doubt::OutOfRange
        };
        self.doubt = Some(doubt);
        Err(doubt)
    }
}

impl Source {
    fn read(&self) -> Reading {
        match self {
            Self::System(start) => Reading { wall: wall_millis(), monotonic: start.elapsed() },
            Self::Hand(hand) => *hand.reading(),
        }
    }
}

fn wall_millis() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        // Before 1970; only that it is out of range matters.
        Err(_) => 0,
    }
}

/// The hand of a test's clock.
#[derive(Clone)]
pub struct Hand(Arc<Mutex<Reading>>);

impl Hand {
    /// Lets time pass, on both clocks.
    pub fn pass(&self, by: Duration) {
        let mut reading = self.reading();
        reading.wall += i64::try_from(by.as_millis()).expect("a test's time is short");
        reading.monotonic += by;
    }

    /// Sets the wall clock, and leaves the monotonic one.
    pub fn set(&self, to: Timestamp) {
        self.reading().wall = to.millis();
    }

    fn reading(&self) -> MutexGuard<'_, Reading> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that unwraps what must be there fails at the line that says so")]

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const HOUR: Duration = Duration::from_secs(60 * 60);
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn noon() -> Timestamp {
        Timestamp::from_millis(1_795_521_600_000).unwrap()
    }

    #[test]
    fn time_passes() {
        let (clock, hand) = Clock::by_hand(noon(), None);
        hand.pass(90 * DAY);
        assert_eq!(clock.now(), Ok(noon() + 90 * DAY));
    }

    #[test]
    fn a_minute_is_a_correction_and_more_is_a_jump() {
        for (set, now) in [
            (noon() + 60 * SECOND, Ok(noon() + 60 * SECOND)),
            (noon() - 60 * SECOND, Ok(noon() - 60 * SECOND)),
            (noon() + 61 * SECOND, Err(Doubt::Jumped(61_000))),
            (noon() - 61 * SECOND, Err(Doubt::Jumped(-61_000))),
            (noon() - HOUR, Err(Doubt::Jumped(-3_600_000))),
            (Timestamp::LAST, Err(Doubt::Jumped(Timestamp::LAST.millis() - noon().millis()))),
        ] {
            let (clock, hand) = Clock::by_hand(noon(), None);
            hand.set(set);
            assert_eq!(clock.now(), now);
        }
    }

    #[test]
    fn many_small_corrections_are_no_jump_but_many_on_one_day_are() {
        let (clock, hand) = Clock::by_hand(noon(), None);
        for _ in 0..10 {
            hand.pass(DAY + SECOND);
            hand.set(clock.reading() + 20 * SECOND);
            assert!(clock.now().is_ok());
        }
        for correction in 1..=4 {
            hand.set(clock.reading() + 20 * SECOND);
            assert_eq!(clock.now().is_ok(), correction < 4);
        }
    }

    #[test]
    fn doubt_stays_until_it_is_confirmed_even_if_the_clock_comes_back() {
        let (clock, hand) = Clock::by_hand(noon(), None);
        hand.set(noon() + DAY);
        assert!(clock.now().is_err());
        hand.set(noon());
        assert!(clock.now().is_err());
        assert!(clock.clone().now().is_err());
        assert_eq!(clock.reading(), noon());
        clock.confirm();
        assert_eq!(clock.now(), Ok(noon()));
    }

    #[test]
    fn at_start_the_clock_is_held_against_the_last_record() {
        for (last, doubt) in [
            (noon() + 5 * SECOND, None),
            (noon() + 6 * SECOND, Some(Doubt::BeforeLastRecord(6 * SECOND))),
            (noon() + 300 * DAY, Some(Doubt::BeforeLastRecord(300 * DAY))),
            (noon() - DAY, None),
            (noon() - DAY - SECOND, Some(Doubt::AfterLastRecord(DAY + SECOND))),
        ] {
            let (clock, _) = Clock::by_hand(noon(), Some(last));
            assert_eq!(clock.doubt(), doubt, "{last}");
        }
    }

    #[test]
    fn the_machines_clock_is_read_and_in_range() {
        let clock = Clock::system(None);
        let first = clock.now().unwrap();
        assert!(clock.now().unwrap() >= first - SECOND);
    }
}
