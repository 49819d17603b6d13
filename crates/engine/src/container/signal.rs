//! Signals by name or number.

use crate::error::{Error, Result};

/// `SIGKILL`.
pub(crate) const KILL: i32 = 9;
/// `SIGTERM`.
pub(crate) const TERM: i32 = 15;

/// Names without `SIG`, by number from 1; Linux on every architecture that we run on.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];
/// Other names of some of them.
const ALIASES: [(&str, i32); 4] = [("IOT", 6), ("CLD", 17), ("POLL", 29), ("UNUSED", 31)];
/// The first and last real-time signals, as the C library leaves them to programs.
const REAL_TIME: (i32, i32) = (34, 64);

/// A signal by name (`SIGTERM`, `term`, `RTMIN+3`) or number.
///
/// Errors: Docker's text.
pub(crate) fn parse(text: &str) -> Result<i32> {
    let invalid = || Error::invalid(format!("invalid signal: {text}"));
    match text.parse::<i32>() {
        Ok(number) if (1..=REAL_TIME.1).contains(&number) => return Ok(number),
        Ok(number) if number != 0 => {
            return Err(Error::invalid(format!("the linux daemon does not support signal {number}")));
        }
        Ok(_) => return Err(invalid()),
        Err(_) => {}
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(index) = NAMES.iter().position(|known| *known == name) {
        return Ok(index as i32 + 1);
    }
    if let Some((_, number)) = ALIASES.iter().find(|(alias, _)| *alias == name) {
        return Ok(*number);
    }
    real_time(name).ok_or_else(invalid)
}

/// `RTMIN`, `RTMIN+n`, `RTMAX`, `RTMAX-n`.
fn real_time(name: &str) -> Option<i32> {
    let offset = |rest: &str, sign: char| match rest.strip_prefix(sign) {
        Some(digits) => digits.parse::<u8>().ok().map(i32::from),
        None if rest.is_empty() => Some(0),
        _ => None,
    };
    let number = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(rest), _) => REAL_TIME.0.checked_add(offset(rest, '+')?)?,
        (_, Some(rest)) => REAL_TIME.1.checked_sub(offset(rest, '-')?)?,
        _ => return None,
    };
    (REAL_TIME.0..=REAL_TIME.1).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (text, expect) in [
            ("9", 9),
            ("SIGKILL", 9),
            ("kill", 9),
            ("sigterm", 15),
            ("CLD", 17),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
            ("64", 64),
            ("sys", 31),
        ] {
            assert_eq!(parse(text).unwrap(), expect, "{text}");
        }
        for bad in ["", "0", "FOO", "SIG", "RTMIN+31", "RTMAX+1", "RTMIN-1", "RTMIN+", "9 "] {
            assert_eq!(parse(bad).unwrap_err().to_string(), format!("invalid signal: {bad}"));
        }
        for none in ["65", "-1"] {
            let why = format!("the linux daemon does not support signal {none}");
            assert_eq!(parse(none).unwrap_err().to_string(), why);
        }
    }
}
