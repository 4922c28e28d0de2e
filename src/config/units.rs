//! Values with units: lengths of time and sizes, as a person writes them in the configuration.
//!
//! A bare number is refused on purpose: nobody can tell whether `timeout = 30` means seconds or milliseconds.

use super::problem::bilingual;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, Error as _, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Units of [`Period`] from long to short, in milliseconds. A day is 24 hours: no calendar is involved.
const TIME_UNITS: [(&str, u64); 6] =
    [("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// The longest period we take: ten years, so that sums of a few of them fit every integer we use.
const PERIOD_MS_MAX: u64 = 10 * 365 * 86_400_000;

/// A length of time, whole milliseconds: `"30s"`, `"2h 30m"`, `"90d"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Period(u64);

impl Period {
    /// The period of so many milliseconds.
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms)
    }
    /// The period of so many seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1_000))
    }
    /// Its length in milliseconds.
    pub const fn as_ms(self) -> u64 {
        self.0
    }
    /// Its length for timers and sockets.
    pub const fn as_duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl From<Period> for Duration {
    fn from(period: Period) -> Self {
        period.as_duration()
    }
}

/// A text that is no length of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a length of time: write a whole number with its unit, such as 500ms, 30s, 5m, 2h 30m, 90d"
)]
pub struct InvalidPeriod(String);

impl FromStr for Period {
    type Err = InvalidPeriod;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidPeriod(text.chars().take(40).collect());
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(invalid());
        }
        let mut total: u64 = 0;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let number: u64 = rest[..digits].parse().map_err(|_| invalid())?;
            rest = rest[digits..].trim_start();
            let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
            let unit_ms = unit_ms(&rest[..letters]).ok_or_else(invalid)?;
            rest = rest[letters..].trim_start();
            total = number
                .checked_mul(unit_ms)
                .and_then(|ms| ms.checked_add(total))
                .filter(|ms| *ms <= PERIOD_MS_MAX)
                .ok_or_else(invalid)?;
        }
        Ok(Self(total))
    }
}

fn unit_ms(unit: &str) -> Option<u64> {
    let unit = match unit {
        "min" => "m",
        "sec" => "s",
        "day" | "days" => "d",
        other => other,
    };
    TIME_UNITS.iter().find(|(name, _)| *name == unit).map(|(_, ms)| *ms)
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // weeks are read but not printed: `90d` should come back as `90d`, not as `12w 6d`
        let mut rest = self.0;
        let mut first = true;
        for (unit, ms) in &TIME_UNITS[1..] {
            let count = rest / ms;
            rest %= ms;
            if count > 0 {
                write!(f, "{}{count}{unit}", if first { "" } else { " " })?;
                first = false;
            }
        }
        if first { f.write_str("0s") } else { Ok(()) }
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(PeriodVisitor)
    }
}

struct PeriodVisitor;

impl Visitor<'_> for PeriodVisitor {
    type Value = Period;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a length of time with its unit in quotes, such as \"30s\" or \"2h 30m\"")
    }
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Period, E> {
        text.parse().map_err(|err: InvalidPeriod| {
            let ru = format!(
                "`{}` — не промежуток времени: напишите целое число с единицей, например 500ms, 30s, 5m, 2h 30m, 90d",
                err.0
            );
            E::custom(bilingual(&ru, &err.to_string()))
        })
    }
}

impl JsonSchema for Period {
    fn schema_name() -> Cow<'static, str> {
        "Period".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "Length of time with its unit: 500ms, 30s, 5m, 2h 30m, 90d",
            "pattern": r"^\s*(\d+\s*(ms|s|sec|m|min|h|d|day|days|w)\s*)+$"
        })
    }
}

/// Units of [`Size`] that are printed, from large to small.
const SIZE_UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

/// A number of bytes: `"64KiB"`, `"10MiB"`, `"10MB"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(u64);

impl Size {
    /// The size of so many bytes.
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }
    /// The number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
    /// The number of bytes as a length in memory; saturates on 32-bit machines.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, bytes) in SIZE_UNITS {
            if self.0 >= bytes && self.0.is_multiple_of(bytes) {
                return write!(f, "{}{unit}", self.0 / bytes);
            }
        }
        write!(f, "{}B", self.0)
    }
}

/// A text that is no size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a size: write a number with its unit, such as 64KiB, 10MiB, 2GiB")]
pub struct InvalidSize(String);

impl FromStr for Size {
    type Err = InvalidSize;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidSize(text.chars().take(40).collect());
        if !text.trim_end().ends_with(['b', 'B']) {
            return Err(invalid());
        }
        text.trim().parse::<bytesize::ByteSize>().map(|size| Self(size.as_u64())).map_err(|_| invalid())
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text =
            deserializer.deserialize_str(TextVisitor("a size with its unit in quotes, such as \"10MiB\""))?;
        text.parse().map_err(|err: InvalidSize| {
            let ru =
                format!("`{}` — не размер: напишите число с единицей, например 64KiB, 10MiB, 2GiB", err.0);
            D::Error::custom(bilingual(&ru, &err.to_string()))
        })
    }
}

impl JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "Number of bytes with its unit: 64KiB, 10MiB, 2GiB, 10MB",
            "pattern": r"^\s*\d+(\.\d+)?\s*[kKMGT]?i?[bB]\s*$"
        })
    }
}

/// Takes any text; its field says what is expected, for the error.
pub(super) struct TextVisitor(pub(super) &'static str);

impl Visitor<'_> for TextVisitor {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_reads_back_what_it_prints() {
        for (text, ms) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("2h 30m", 9_000_000),
            ("90d", 7_776_000_000),
            ("1d 1s", 86_401_000),
            ("0s", 0),
        ] {
            let period: Period = text.parse().unwrap();
            assert_eq!(period.as_ms(), ms, "{text}");
            assert_eq!(period.to_string(), text);
        }
        assert_eq!("1w".parse::<Period>().unwrap().to_string(), "7d");
        assert_eq!("2h30m".parse(), "150 min".parse::<Period>());
    }

    #[test]
    fn a_period_without_a_unit_or_beyond_ten_years_is_refused() {
        for text in ["", "30", "s", "3 parsecs", "-1s", "1.5h", "99999999999999999999s", "5000d", "30s 5"] {
            assert!(text.parse::<Period>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_size_reads_back_what_it_prints() {
        for (text, bytes) in
            [("64KiB", 65_536), ("10MiB", 10_485_760), ("2GiB", 1 << 31), ("10MB", 10_000_000)]
        {
            let size: Size = text.parse().unwrap();
            assert_eq!(size.bytes(), bytes, "{text}");
            assert_eq!(size.to_string().parse(), Ok(size));
        }
    }

    #[test]
    fn a_size_without_a_unit_is_refused() {
        for text in ["", "10", "10M", "ten MiB", "MiB"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }
}
