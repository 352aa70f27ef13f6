//! Numbers of the command line: one way to write them, whichever option they are for.

use std::num::{NonZero, ParseIntError};

/// The letters behind a number, each 1024 times the one before.
const UNITS: [char; 6] = ['k', 'm', 'g', 't', 'p', 'e'];

/// A count, a length or an offset: decimal, or hex with 0x. A letter behind a decimal number is a power of 1024.
pub(super) fn number(text: &str) -> Result<u64, String> {
    if let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        return parse(digits, 16);
    }
    let unit = UNITS
        .iter()
        .zip((10_u32..).step_by(10))
        .find_map(|(unit, bits)| Some((text.strip_suffix([*unit, unit.to_ascii_uppercase()])?, bits)));
    let (digits, bits) = unit.unwrap_or((text, 0));
    let number = parse(digits, 10)?;
    number.checked_mul(1_u64.unbounded_shl(bits)).ok_or_else(|| "2^64 or more".to_owned())
}

/// The same, for what makes no sense as 0.
pub(super) fn positive(text: &str) -> Result<NonZero<u64>, String> {
    NonZero::new(number(text)?).ok_or_else(|| "must not be 0".to_owned())
}

fn parse(digits: &str, radix: u32) -> Result<u64, String> {
    // The standard library takes a sign too.
    if digits.starts_with('+') {
        return Err("invalid digit found in string".to_owned());
    }
    u64::from_str_radix(digits, radix).map_err(|error: ParseIntError| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_one_way() {
        for (text, wanted) in [
            ("0", 0),
            ("65536", 65536),
            ("64k", 65536),
            ("64K", 65536),
            ("0x1e", 30),
            ("0X1E", 30),
            ("3M", 3 << 20),
            ("2g", 2 << 30),
            ("1T", 1 << 40),
            ("1p", 1 << 50),
            ("15E", 15 << 60),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(number(text), Ok(wanted), "{text}");
        }
        for text in
            ["+1", "-1", "0x+10", "0x-1", "0x", "", "K", "+1K", "1.5K", "0x10K", "1KiB", "1 K", "1_000"]
        {
            number(text).expect_err(text);
        }
        assert_eq!(number("16E").unwrap_err(), "2^64 or more");
        assert_eq!(positive("0").unwrap_err(), "must not be 0");
        assert_eq!(positive("0x10").map(NonZero::get), Ok(16));
    }
}
