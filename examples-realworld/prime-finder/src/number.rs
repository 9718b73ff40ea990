//! Numbers as people write them: `1000000`, `1_000_000`, `1e9`, `2.5e6`, `10^9`.

use crate::sieve::MAX;

/// Reads a whole number from 0 to the largest limit, exactly: no detour over floating point.
pub fn parse(text: &str) -> Result<u64, String> {
    let number = match text.split_once('^') {
        Some((base, exponent)) => power(plain(base)?, plain(exponent)?),
        None => decimal(text)?,
    };
    number
        .filter(|&number| number <= u128::from(MAX))
        .map(|number| number as u64)
        .ok_or_else(|| format!("more than the largest supported limit, 10^{}", MAX.ilog10()))
}

/// Digits, a fraction and a power of ten. `None` is a number that is too large.
fn decimal(text: &str) -> Result<Option<u128>, String> {
    let (digits, exponent) = match text.split_once(['e', 'E']) {
        Some((digits, exponent)) => (
            digits,
            plain(exponent.strip_prefix('+').unwrap_or(exponent))?,
        ),
        None => (text, 0),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if digits.contains('.') {
        plain(fraction)?;
    }
    let fraction = fraction.trim_end_matches('0');
    let Some(zeros) = exponent.checked_sub(fraction.len() as u128) else {
        return Err("not a whole number".into());
    };
    let mantissa = plain(&format!("{whole}{fraction}"))?;
    plain(whole)?;
    let scale = if mantissa == 0 {
        Some(1)
    } else {
        power(10, zeros)
    };
    Ok(scale.and_then(|scale| mantissa.checked_mul(scale)))
}

fn power(base: u128, exponent: u128) -> Option<u128> {
    match base {
        0 | 1 if exponent > 0 => Some(base),
        _ => base.checked_pow(u32::try_from(exponent).ok()?),
    }
}

/// Digits, with `_` between them. Nothing above the largest limit needs more than 30.
fn plain(digits: &str) -> Result<u128, String> {
    let well_formed = digits
        .split('_')
        .all(|group| !group.is_empty() && group.bytes().all(|byte| byte.is_ascii_digit()));
    if !well_formed {
        return Err("not a number such as 1000000, 1_000_000, 1e6 or 10^6".into());
    }
    let digits = digits.replace('_', "");
    let digits = digits.trim_start_matches('0');
    if digits.len() > 30 {
        return Err("absurdly long".into());
    }
    Ok(if digits.is_empty() {
        0
    } else {
        digits.parse().expect("30 digits fit")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_people_write_them() {
        for (text, number) in [
            ("0", 0),
            ("007", 7),
            ("1e9", 1_000_000_000),
            ("1E+3", 1000),
            ("1_000_000", 1_000_000),
            ("2.5e6", 2_500_000),
            ("1.50e1", 15),
            ("10^9", 1_000_000_000),
            ("2^32", 1 << 32),
            ("0^0", 1),
            ("0e999", 0),
            ("1.0", 1),
            ("1e19", MAX),
            ("10000000000000000000", MAX),
        ] {
            assert_eq!(parse(text), Ok(number), "{text}");
        }
    }

    #[test]
    fn absurd_numbers_are_errors_that_say_why() {
        for text in [
            "", "-1", "+5", "NaN", "inf", "1e9.5", "1e", "e9", ".5e1", "5.", "0x10", "1__0", "_1",
            "1 000", "ten", "1e-3", "0.5", "1.5", "2.55e1", "^", "10^", "^9", "2^3^4", "10^-1",
        ] {
            assert!(parse(text).is_err(), "{text:?} is {:?}", parse(text));
        }
        for text in [
            "10000000000000000001",
            "1e20",
            "1e30",
            "2^64",
            "10^99999999999",
            "1e99999999",
        ] {
            assert!(parse(text).unwrap_err().contains("largest"), "{text}");
        }
        assert!(parse(&"9".repeat(4000)).is_err());
    }
}
