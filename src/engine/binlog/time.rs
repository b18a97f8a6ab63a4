//! Dates and times of the binlog as text that the server reads back exactly.

use super::cursor::{Cursor, Malformed};

/// Three bytes: 15 bits of year, 4 of month, 5 of day.
pub fn date(c: &mut Cursor<'_>) -> Result<String, Malformed> {
    let n = c.uint(3)?;
    Ok(format!("{:04}-{:02}-{:02}", n >> 9, n >> 5 & 15, n & 31))
}

/// Bytes that hold a fraction of `digits` digits.
fn fraction_bytes(digits: u8) -> usize {
    usize::from(digits.div_ceil(2))
}

/// Microseconds of a fraction that was stored in `bytes` bytes.
fn microseconds(stored: u64, bytes: usize) -> u64 {
    stored * [0, 10_000, 100, 1][bytes]
}

fn with_fraction(mut text: String, micros: u64, digits: u8) -> String {
    if digits > 0 {
        let all = format!("{micros:06}");
        text.push('.');
        text.push_str(&all[..usize::from(digits)]);
    }
    text
}

fn check_digits(digits: u8) -> Result<(), Malformed> {
    match digits {
        0..=6 => Ok(()),
        _ => Err(Malformed::new(format!("{digits} digits of a second"))),
    }
}

/// DATETIME(digits).
pub fn datetime(c: &mut Cursor<'_>, digits: u8) -> Result<String, Malformed> {
    check_digits(digits)?;
    let packed = c.uint_be(5)?.wrapping_sub(0x80_0000_0000);
    let bytes = fraction_bytes(digits);
    let micros = microseconds(c.uint_be(bytes)?, bytes);
    Ok(with_fraction(date_and_time(packed), micros, digits))
}

fn date_and_time(packed: u64) -> String {
    let (ymd, hms) = (packed >> 17, packed & 0x1_ffff);
    let ym = ymd >> 5;
    format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02}",
        ym / 13,
        ym % 13,
        ymd & 31,
        hms >> 12,
        hms >> 6 & 63,
        hms & 63
    )
}

/// TIME(digits), which may be negative: then the whole packed number is.
pub fn time(c: &mut Cursor<'_>, digits: u8) -> Result<String, Malformed> {
    check_digits(digits)?;
    let bytes = fraction_bytes(digits);
    let shift = 8 * bytes;
    let packed = c.uint_be(3 + bytes)? as i64 - (0x80_0000_i64 << shift);
    let sign = if packed < 0 { "-" } else { "" };
    let packed = packed.unsigned_abs();
    let (hms, fraction) = (packed >> shift, packed & ((1 << shift) - 1));
    let text = format!(
        "{sign}{:02}:{:02}:{:02}",
        hms >> 12 & 1023,
        hms >> 6 & 63,
        hms & 63
    );
    Ok(with_fraction(text, microseconds(fraction, bytes), digits))
}

/// TIMESTAMP(digits) in UTC; zero stands for the zero date.
pub fn timestamp(c: &mut Cursor<'_>, digits: u8) -> Result<String, Malformed> {
    check_digits(digits)?;
    let seconds = c.uint_be(4)?;
    let bytes = fraction_bytes(digits);
    let micros = microseconds(c.uint_be(bytes)?, bytes);
    if seconds == 0 {
        return Ok(with_fraction(
            "0000-00-00 00:00:00".to_owned(),
            micros,
            digits,
        ));
    }
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let text = format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}",
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    );
    Ok(with_fraction(text, micros, digits))
}

/// The date that is `days` after 1970-01-01, by eras of 400 years that begin on 1 March.
fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let (era, doe) = (z / 146_097, z % 146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + u64::from(month <= 2), month, day)
}

/// A date as JSON packs it: as a date and time of 40 bits, above 24 bits of microseconds.
pub fn packed_date(packed: i64) -> String {
    let mut text = date_and_time(packed.unsigned_abs() >> 24);
    text.truncate(10);
    text
}

/// A date and time as JSON packs it.
pub fn packed_datetime(packed: i64) -> String {
    let packed = packed.unsigned_abs();
    with_fraction(date_and_time(packed >> 24), packed & 0xff_ffff, 6)
}

/// A time as JSON packs it; negative as a whole.
pub fn packed_time(packed: i64) -> String {
    let sign = if packed < 0 { "-" } else { "" };
    let packed = packed.unsigned_abs();
    let hms = packed >> 24;
    let text = format!(
        "{sign}{:02}:{:02}:{:02}",
        hms >> 12 & 1023,
        hms >> 6 & 63,
        hms & 63
    );
    with_fraction(text, packed & 0xff_ffff, 6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(11_016), (2000, 2, 29));
        assert_eq!(civil(24_855), (2038, 1, 19));
    }

    #[test]
    fn a_negative_time_with_a_fraction_reads_back() {
        // -00:00:00.000001 and -01:02:03.4, as TIME(6) and TIME(1) are stored.
        let c = |b: &[u8], d| time(&mut Cursor::new(b), d).unwrap();
        assert_eq!(
            c(&[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff], 6),
            "-00:00:00.000001"
        );
        let packed = (0x80_0000_i64 << 8) - (((1 << 12 | 2 << 6 | 3) << 8) + 40);
        assert_eq!(c(&packed.to_be_bytes()[4..], 1), "-01:02:03.4");
    }
}
