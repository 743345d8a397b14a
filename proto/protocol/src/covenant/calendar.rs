//! Days and durations as the covenant counts them: in Europe/Amsterdam.
//!
//! In come dates (`2026-12-01`) and durations (`PT15M`) as the covenant writes them; out go points in time. The time
//! zone's rules are compiled in, so that gateway and client come to the same answer on any machine. Reads no clock.

use std::sync::OnceLock;

use jiff::civil::{Date, Weekday};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Span, ZonedDateTime};

use crate::time::{Timestamp, parse_day};

/// Longest duration of a clock in days: ten years, far beyond any owed step, and small enough for every calendar sum.
const CLOCK_DAYS_MAX: i64 = 3_660;

/// Returns the milliseconds since 1970 at which a day begins in Europe/Amsterdam, or `None` unless it is written
/// `YYYY-MM-DD` and exists. The day may lie before 2020: a merger of municipalities may be older than the exchange.
pub(super) fn day_start(day: &str) -> Option<i64> {
    Some(date_start(parse_day(day)?)?.timestamp().as_millisecond())
}

/// How long a clock runs.
#[derive(Debug, Clone, Copy)]
pub(super) enum Duration {
    /// A span of the calendar: a day is a day in Amsterdam, 23 or 25 hours long where the clock is moved.
    Span(Span),
    /// So many days of which none is a Saturday or a Sunday.
    WorkingDays(u32),
}

impl Duration {
    /// Reads an ISO 8601 duration, positive and at most ten years; of working days only whole days (`P5D`).
    pub(super) fn parse(text: &str, working_days: bool) -> Option<Self> {
        if !text.starts_with('P') {
            return None;
        }
        let span = jiff::fmt::temporal::SpanParser::new().parse_span(text).ok()?;
        if span.is_negative() || span.is_zero() || days_of(&span)? > CLOCK_DAYS_MAX {
            return None;
        }
        if !working_days {
            return Some(Self::Span(span));
        }
        let days = u32::try_from(span.get_days()).ok()?;
        (span.fieldwise() == Span::new().days(days).fieldwise()).then_some(Self::WorkingDays(days))
    }

    /// Returns when a clock that starts at `from` runs out, or `None` after 2099.
    ///
    /// Working days: one that starts on a Saturday or Sunday starts as Monday begins; then each step goes to the same
    /// time of the next day that is neither. Public holidays count as working days, since the covenant lists none.
    pub(super) fn after(self, from: Timestamp) -> Option<Timestamp> {
        let from = jiff::Timestamp::from_millisecond(from.millis()).ok()?.to_zoned_datetime(amsterdam().clone());
        let due = match self {
            Self::Span(span) => from.checked_add(span).ok()?,
            Self::WorkingDays(days) => {
                let mut due = from;
                while is_weekend(&due) {
                    due = date_start(due.date().tomorrow().ok()?)?;
                }
                for _ in 0..days {
                    due = due.checked_add(Span::new().days(1)).ok()?;
                    while is_weekend(&due) {
                        due = due.checked_add(Span::new().days(1)).ok()?;
                    }
                }
                due
            }
        };
        Timestamp::from_millis(due.timestamp().as_millisecond())
    }
}

/// Counts a span in days, generously: a year as 366, a month as 31, and no week, day or hour forgotten.
fn days_of(span: &Span) -> Option<i64> {
    let hours = i64::from(span.get_hours()) + span.get_minutes() / 60 + span.get_seconds() / 3_600;
    let days = i64::from(span.get_years()) * 366
        + i64::from(span.get_months()) * 31
        + i64::from(span.get_weeks()) * 7
        + i64::from(span.get_days());
    days.checked_add(hours / 24)
}

fn is_weekend(time: &ZonedDateTime) -> bool {
    matches!(time.weekday(), Weekday::Saturday | Weekday::Sunday)
}

fn date_start(date: Date) -> Option<ZonedDateTime> {
    date.to_zoned_datetime(amsterdam().clone()).ok()
}

fn amsterdam() -> &'static TimeZone {
    static AMSTERDAM: OnceLock<TimeZone> = OnceLock::new();
    AMSTERDAM.get_or_init(|| {
        TimeZoneDatabase::bundled().get("Europe/Amsterdam").expect("the rules of Europe/Amsterdam are compiled in")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::from_millis(text.parse::<jiff::Timestamp>().expect("a time").as_millisecond()).expect("in range")
    }

    fn day(text: &str) -> Option<String> {
        day_start(text).map(|millis| jiff::Timestamp::from_millisecond(millis).expect("in range").to_string())
    }

    #[test]
    fn a_day_begins_at_midnight_in_amsterdam_in_winter_and_summer_time() {
        assert_eq!(day("2026-12-01").as_deref(), Some("2026-11-30T23:00:00Z"));
        assert_eq!(day("2026-07-01").as_deref(), Some("2026-06-30T22:00:00Z"));
        assert_eq!(
            day("2026-03-29").as_deref(),
            Some("2026-03-28T23:00:00Z"),
            "the day on which the clock goes forward"
        );
        assert_eq!(day("2026-03-30").as_deref(), Some("2026-03-29T22:00:00Z"));
        assert_eq!(day("2026-10-26").as_deref(), Some("2026-10-25T23:00:00Z"), "the day after it went back");
        assert_eq!(day("2011-01-01").as_deref(), Some("2010-12-31T23:00:00Z"), "older than the exchange");
    }

    #[test]
    fn what_is_no_day_of_the_calendar_is_refused() {
        for text in [
            "",
            "2026-02-30",
            "2026-13-01",
            "2026-00-10",
            "2025-02-29",
            "20261201",
            "2026-12-1",
            "2026-12-01T00:00",
            "2026/12/01",
            " 2026-12-01",
            "2026-12-01 ",
            "+026-12-01",
            "２026-12-01",
            "2026-W12-1",
        ] {
            assert_eq!(day_start(text), None, "{text}");
        }
    }

    fn due(duration: &str, working_days: bool, from: &str) -> Option<Timestamp> {
        Duration::parse(duration, working_days).expect("a duration").after(at(from))
    }

    #[test]
    fn minutes_and_hours_run_on_through_the_night_and_the_weekend() {
        assert_eq!(due("PT15M", false, "2026-11-27T22:50:00Z"), Some(at("2026-11-27T23:05:00Z")));
        assert_eq!(due("PT4H", false, "2026-11-28T22:00:00Z"), Some(at("2026-11-29T02:00:00Z")));
    }

    #[test]
    fn days_are_days_in_amsterdam_where_the_clock_is_moved() {
        // 2026-03-29 has 23 hours, 2026-10-25 has 25.
        assert_eq!(due("P1D", false, "2026-03-28T11:00:00Z"), Some(at("2026-03-29T10:00:00Z")));
        assert_eq!(due("P1D", false, "2026-10-24T10:00:00Z"), Some(at("2026-10-25T11:00:00Z")));
        assert_eq!(due("P10W", false, "2026-09-01T10:00:00Z"), Some(at("2026-11-10T11:00:00Z")));
        assert_eq!(due("P1M", false, "2026-01-31T11:00:00Z"), Some(at("2026-02-28T11:00:00Z")));
    }

    #[test]
    fn working_days_skip_saturday_and_sunday() {
        // 2026-11-27 is a Friday.
        assert_eq!(due("P1D", true, "2026-11-26T15:00:00Z"), Some(at("2026-11-27T15:00:00Z")));
        assert_eq!(due("P1D", true, "2026-11-27T15:00:00Z"), Some(at("2026-11-30T15:00:00Z")));
        assert_eq!(due("P5D", true, "2026-11-27T15:00:00Z"), Some(at("2026-12-04T15:00:00Z")));
    }

    #[test]
    fn working_days_that_start_in_a_weekend_count_from_monday() {
        let tuesday = Some(at("2026-11-30T23:00:00Z"));
        assert_eq!(due("P1D", true, "2026-11-28T09:00:00Z"), tuesday);
        assert_eq!(due("P1D", true, "2026-11-29T22:59:59.999Z"), tuesday, "the last of Sunday");
        assert_eq!(due("P1D", true, "2026-11-29T23:00:00Z"), tuesday, "the first of Monday");
        assert_eq!(due("P1D", true, "2026-11-27T22:59:59Z"), Some(at("2026-11-30T22:59:59Z")), "the last of Friday");
    }

    #[test]
    fn working_days_keep_the_time_of_day_where_the_clock_is_moved() {
        // Friday before the clock goes back, 12:00 in Amsterdam: 10:00 UTC, on Monday 11:00 UTC.
        assert_eq!(due("P1D", true, "2026-10-23T10:00:00Z"), Some(at("2026-10-26T11:00:00Z")));
    }

    #[test]
    fn a_later_start_is_never_due_earlier() {
        // In the one hour of the year that comes twice it may be, for spans of days.
        let start = at("2026-10-26T00:00:00Z");
        for duration in [Duration::parse("P1D", true), Duration::parse("P1D", false), Duration::parse("PT4H", false)] {
            let duration = duration.expect("a duration");
            let mut last = Timestamp::FIRST;
            for quarter in 0..(4 * 24 * 14) {
                let due = duration.after(start + std::time::Duration::from_secs(900 * quarter)).expect("before 2100");
                assert!(due >= last, "{quarter} quarters after {start}");
                last = due;
            }
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for (text, working_days) in [
            ("", false),
            ("15 minutes", false),
            ("15M", false),
            ("p1d", false),
            ("-P1D", false),
            ("P-1D", false),
            ("PT0S", false),
            ("P0D", false),
            ("P11Y", false),
            ("PT99999999H", false),
            ("P", false),
            ("PT", false),
            ("P1D ", false),
            ("PT4H", true),
            ("P1W", true),
            ("P1DT1H", true),
            ("P0D", true),
            ("P1M", true),
        ] {
            assert!(Duration::parse(text, working_days).is_none(), "{text}");
        }
    }

    #[test]
    fn a_clock_that_runs_beyond_2099_has_no_end() {
        assert_eq!(due("P10Y", false, "2095-01-01T00:00:00Z"), None);
    }
}
