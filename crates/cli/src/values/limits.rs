//! `--cpus`, `--restart`, `--sysctl`, `--*-device`, `--device-*`: numbers with structure.

use berth_api::container::{RestartPolicy, ThrottleDevice, WeightDevice};

use crate::format::units::parse_bytes;

/// Reads `--cpus`: a decimal number or a fraction, in billionths.
pub(crate) fn cpus(value: &str) -> Result<i64, String> {
    let invalid = || format!("failed to parse {value} as a rational number");
    let (numerator, denominator) = value.split_once('/').unwrap_or((value, "1"));
    let (whole, scale) = decimal(numerator).ok_or_else(invalid)?;
    let denominator: i128 = denominator.parse().map_err(|_| invalid())?;
    if denominator == 0 {
        return Err(invalid());
    }
    let product = whole * 1_000_000_000;
    let divisor = scale * denominator;
    if product % divisor != 0 {
        return Err("value is too precise".to_owned());
    }
    i64::try_from(product / divisor).map_err(|_| "value is too precise".to_owned())
}

/// A decimal number as digits and the power of ten that they are divided by.
fn decimal(text: &str) -> Option<(i128, i128)> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{whole}{fraction}");
    if all.is_empty() || all.len() > 25 || !all.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((sign * all.parse::<i128>().ok()?, 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?))
}

/// Reads `--restart`: `name[:count]`; the engine knows the names.
pub(crate) fn restart(value: &str) -> Result<RestartPolicy, String> {
    let (name, count) = match value.split_once(':') {
        Some(("", _)) => {
            return Err("invalid restart policy format: no policy provided before colon".to_owned());
        }
        Some((name, count)) => (name, count),
        None => (value, ""),
    };
    let maximum_retry_count = if count.is_empty() {
        0
    } else {
        count
            .parse()
            .map_err(|_| "invalid restart policy format: maximum retry count must be an integer".to_owned())?
    };
    Ok(RestartPolicy { name: name.to_owned(), maximum_retry_count })
}

const SYSCTLS: &[&str] = &[
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// Checks one `--sysctl`: only what belongs to the container's namespaces.
pub(crate) fn sysctl(value: &str) -> Result<(), String> {
    let allowed = value.split_once('=').is_some_and(|(name, _)| {
        SYSCTLS.contains(&name) || name.starts_with("net.") || name.starts_with("fs.mqueue.")
    });
    if allowed { Ok(()) } else { Err(format!("sysctl '{value}' is not allowed")) }
}

/// Reads one `--blkio-weight-device`: `path:weight`.
pub(crate) fn weight_device(value: &str) -> Result<WeightDevice, String> {
    let (path, weight) = device_pair(value)?;
    let invalid = || format!("invalid weight for device: {value}");
    let weight: u16 = weight.parse().map_err(|_| invalid())?;
    if weight > 0 && !(10..=1000).contains(&weight) {
        return Err(invalid());
    }
    Ok(WeightDevice { path: path.to_owned(), weight })
}

/// Reads one `--device-read-bps` or `--device-write-bps`: `path:rate`.
pub(crate) fn throttle_bytes(value: &str) -> Result<ThrottleDevice, String> {
    let (path, rate) = device_pair(value)?;
    let rate = parse_bytes(rate).ok().and_then(|rate| u64::try_from(rate).ok()).ok_or_else(|| {
        format!(
            "invalid rate for device: {value}. The correct format is <device-path>:<number>[<unit>]. Number must be a \
             positive integer. Unit is optional and can be kb, mb, or gb"
        )
    })?;
    Ok(ThrottleDevice { path: path.to_owned(), rate })
}

/// Reads one `--device-read-iops` or `--device-write-iops`: `path:rate`.
pub(crate) fn throttle_operations(value: &str) -> Result<ThrottleDevice, String> {
    let (path, rate) = device_pair(value)?;
    let rate = rate.parse().map_err(|_| {
        format!(
            "invalid rate for device: {value}. The correct format is <device-path>:<number>. Number must be a positive \
             integer"
        )
    })?;
    Ok(ThrottleDevice { path: path.to_owned(), rate })
}

fn device_pair(value: &str) -> Result<(&str, &str), String> {
    let Some((path, number)) = value.split_once(':').filter(|(path, _)| !path.is_empty()) else {
        return Err(format!("bad format: {value}"));
    };
    if !path.starts_with("/dev/") {
        return Err(format!("bad format for device path: {value}"));
    }
    Ok((path, number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_counts() {
        assert_eq!(cpus("1.5"), Ok(1_500_000_000));
        assert_eq!(cpus("1/2"), Ok(500_000_000));
        assert_eq!(cpus(".5"), Ok(500_000_000));
        assert_eq!(cpus("abc").unwrap_err(), "failed to parse abc as a rational number");
        assert_eq!(cpus("0.5.5").unwrap_err(), "failed to parse 0.5.5 as a rational number");
        assert_eq!(cpus("0.0000000001").unwrap_err(), "value is too precise");
    }

    #[test]
    fn policies_sysctls_and_devices() {
        assert_eq!(restart("on-failure:3").unwrap().maximum_retry_count, 3);
        assert!(restart(":3").is_err() && restart("always:x").is_err());
        assert!(sysctl("net.ipv4.ip_forward=1").is_ok() && sysctl("kernel.sem=1").is_ok());
        assert_eq!(sysctl("foo").unwrap_err(), "sysctl 'foo' is not allowed");
        assert_eq!(weight_device("/dev/sda:100").unwrap().weight, 100);
        assert_eq!(weight_device("abc").unwrap_err(), "bad format: abc");
        assert_eq!(throttle_bytes("/dev/sda:1mb").unwrap().rate, 1 << 20);
        assert!(throttle_operations("/dev/sda:1mb").is_err());
        assert_eq!(throttle_bytes("sda:1").unwrap_err(), "bad format for device path: sda:1");
    }
}
