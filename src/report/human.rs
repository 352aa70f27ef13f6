//! Sizes and dates for people.

use std::fmt;

pub(super) use crate::text::Size;

/// A point in time, as RFC 3339 in UTC.
pub(super) struct Timestamp(Option<jiff::Timestamp>);

impl Timestamp {
    /// Seconds and nanoseconds since 1970. Nanoseconds of more than a second are left out.
    pub(super) fn new(seconds: u64, nanoseconds: u32) -> Self {
        let nanoseconds = i32::try_from(nanoseconds).ok().filter(|nanoseconds| *nanoseconds < 1_000_000_000);
        let seconds = i64::try_from(seconds).ok();
        Self(seconds.and_then(|seconds| jiff::Timestamp::new(seconds, nanoseconds.unwrap_or(0)).ok()))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(timestamp) => timestamp.fmt(f),
            None => f.write_str("beyond the calendar"),
        }
    }
}

/// A duration in nanoseconds, as hours, minutes and seconds.
pub(super) struct Clock(pub(super) u64);

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, millis) = (self.0 / 1_000_000_000, self.0 / 1_000_000 % 1000);
        write!(f, "{:02}:{:02}:{:02}.{millis:03}", seconds / 3600, seconds / 60 % 60, seconds % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_the_unit_that_fits() {
        let shown = |bytes| Size(bytes).to_string();
        assert_eq!([shown(0), shown(1), shown(1023), shown(1024)], ["0 B", "1 B", "1023 B", "1 KiB"]);
        assert_eq!([shown(1536), shown(1 << 20), shown(u64::MAX)], ["1.5 KiB", "1 MiB", "15.99 EiB"]);
        assert_eq!([shown((1 << 20) - 1), shown(1 << 60)], ["1023.99 KiB", "1 EiB"]);
        assert_eq!(shown(1024 + 11), "1.01 KiB");
    }

    #[test]
    fn dates_are_utc() {
        assert_eq!(Timestamp::new(1_314_604_262, 0).to_string(), "2011-08-29T07:51:02Z");
        assert_eq!(Timestamp::new(u64::from(u32::MAX), 5).to_string(), "2106-02-07T06:28:15.000000005Z");
        assert_eq!(Clock(3_723_004_000_000).to_string(), "01:02:03.004");
    }
}
