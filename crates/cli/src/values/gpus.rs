//! `--gpus`.

use berth_api::container::DeviceRequest;

use super::{csv, environment};

/// Reads one `--gpus`: `all`, a number, or `count=…,device=…,driver=…,capabilities=…,options=…`.
///
/// # Errors
/// Docker's text.
pub(crate) fn parse(value: &str) -> Result<DeviceRequest, String> {
    let mut request = DeviceRequest::default();
    let mut seen: Vec<String> = Vec::new();
    let mut capabilities = vec!["gpu".to_owned()];
    for field in csv::fields(value)? {
        let (key, value) = field.split_once('=').unwrap_or((&field, ""));
        if seen.iter().any(|known| known == key) {
            return Err(format!("gpu request key '{key}' can be specified only once"));
        }
        seen.push(key.to_owned());
        if !field.contains('=') {
            seen.push("count".to_owned());
            request.count = count(key)?;
            continue;
        }
        match key {
            "driver" => value.clone_into(&mut request.driver),
            "count" => request.count = count(value)?,
            "device" => request.device_ids = Some(value.split(',').map(str::to_owned).collect()),
            "capabilities" => capabilities.extend(value.split(',').map(str::to_owned)),
            "options" => {
                let pairs =
                    csv::fields(value).map_err(|error| format!("failed to read gpu options: {error}"))?;
                request.options = Some(environment::to_map(&pairs));
            }
            _ => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
    }
    if request.count == 0 && request.device_ids.is_none() {
        request.count = 1;
    }
    request.options.get_or_insert_default();
    capabilities.sort();
    request.capabilities = Some(vec![Some(capabilities)]);
    Ok(request)
}

fn count(text: &str) -> Result<i32, String> {
    if text == "all" {
        return Ok(-1);
    }
    text.parse().map_err(|_| {
        format!(r#"invalid count ({text}): value must be either "all" or an integer: invalid syntax"#)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests() {
        assert_eq!(parse("all").unwrap().count, -1);
        assert_eq!(parse("2").unwrap().count, 2);
        let request = parse("\"capabilities=a,b\",device=0").unwrap();
        assert_eq!(request.count, 0);
        assert_eq!(request.capabilities.unwrap()[0].as_ref().unwrap().join(" "), "a b gpu");
        assert_eq!(parse("foo=x").unwrap_err(), "unexpected key 'foo' in 'foo=x'");
        assert_eq!(
            parse("x").unwrap_err(),
            r#"invalid count (x): value must be either "all" or an integer: invalid syntax"#
        );
    }
}
