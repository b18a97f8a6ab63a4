//! The server's packed DECIMAL as text, digit for digit.

use super::cursor::{Cursor, Malformed};

/// Bytes that hold 0 to 9 digits.
const BYTES_OF_DIGITS: [usize; 10] = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4];

/// How many bytes a DECIMAL(precision, scale) takes.
pub fn length(precision: usize, scale: usize) -> usize {
    let whole = precision.saturating_sub(scale);
    whole / 9 * 4 + BYTES_OF_DIGITS[whole % 9] + scale / 9 * 4 + BYTES_OF_DIGITS[scale % 9]
}

/// Reads one DECIMAL(precision, scale).
///
/// # Errors
///
/// [`Malformed`] if the bytes end too soon or a group has too many digits.
pub fn read(c: &mut Cursor<'_>, precision: usize, scale: usize) -> Result<String, Malformed> {
    if scale > precision {
        return Err(Malformed::new(format!("DECIMAL({precision},{scale})")));
    }
    let mut bytes = c.bytes(length(precision, scale))?.to_vec();
    let Some(first) = bytes.first_mut() else {
        return Ok("0".to_owned());
    };
    // The top bit is set for positive numbers; negative ones are inverted as a whole.
    let negative = *first & 0x80 == 0;
    *first ^= 0x80;
    if negative {
        bytes.iter_mut().for_each(|b| *b = !*b);
    }
    let mut c = Cursor::new(&bytes);
    let mut digits = String::with_capacity(precision + 2);
    let whole = precision - scale;
    group(&mut c, whole % 9, &mut digits)?;
    for _ in 0..whole / 9 {
        group(&mut c, 9, &mut digits)?;
    }
    let trimmed = digits.trim_start_matches('0').len();
    digits.drain(..digits.len() - trimmed);
    if digits.is_empty() {
        digits.push('0');
    }
    if scale > 0 {
        digits.push('.');
        for _ in 0..scale / 9 {
            group(&mut c, 9, &mut digits)?;
        }
        group(&mut c, scale % 9, &mut digits)?;
    }
    if negative {
        digits.insert(0, '-');
    }
    Ok(digits)
}

fn group(c: &mut Cursor<'_>, digits: usize, text: &mut String) -> Result<(), Malformed> {
    if digits == 0 {
        return Ok(());
    }
    let number = c.uint_be(BYTES_OF_DIGITS[digits])?;
    let shown = format!("{number:0digits$}");
    if shown.len() > digits {
        return Err(Malformed::new(format!(
            "{number} in a DECIMAL's group of {digits} digits"
        )));
    }
    text.push_str(&shown);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manuals_example_reads_back() {
        // 1234567890.1234 as DECIMAL(14,4), from the server's decimal2bin.
        let positive = [0x81, 0x0D, 0xFB, 0x38, 0xD2, 0x04, 0xD2];
        let negative = positive.map(|b: u8| !b);
        assert_eq!(
            read(&mut Cursor::new(&positive), 14, 4).unwrap(),
            "1234567890.1234"
        );
        assert_eq!(
            read(&mut Cursor::new(&negative), 14, 4).unwrap(),
            "-1234567890.1234"
        );
        assert!(read(&mut Cursor::new(&positive[1..]), 14, 4).is_err());
    }
}
