//! One line of comma-separated values, as Go's `encoding/csv` reads it.

/// The fields of the line.
///
/// # Errors
/// Go's text for quotes in the wrong place.
pub(crate) fn fields(line: &str) -> Result<Vec<String>, String> {
    if line.is_empty() {
        return Err("EOF".to_owned());
    }
    let mut fields = Vec::new();
    let mut rest = line;
    let mut column = 1;
    loop {
        if let Some(quoted) = rest.strip_prefix('"') {
            let (field, after) = unquote(quoted, column)?;
            fields.push(field);
            let Some(after) = after.strip_prefix(',') else {
                if after.is_empty() {
                    return Ok(fields);
                }
                let at = column + rest.len() - after.len() - 1;
                return Err(format!(
                    "parse error on line 1, column {at}: extraneous or missing \" in quoted-field"
                ));
            };
            column += rest.len() - after.len();
            rest = after;
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            if let Some(quote) = rest[..end].find('"') {
                let at = column + quote;
                return Err(format!("parse error on line 1, column {at}: bare \" in non-quoted-field"));
            }
            fields.push(rest[..end].to_owned());
            if end == rest.len() {
                return Ok(fields);
            }
            column += end + 1;
            rest = &rest[end + 1..];
        }
    }
}

/// The text up to the closing quote, in which two quotes are one, and what follows.
fn unquote(text: &str, column: usize) -> Result<(String, &str), String> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let Some(quote) = rest.find('"') else {
            let at = column + text.len() + 1;
            return Err(format!(
                "parse error on line 1, column {at}: extraneous or missing \" in quoted-field"
            ));
        };
        field.push_str(&rest[..quote]);
        rest = &rest[quote + 1..];
        match rest.strip_prefix('"') {
            Some(after) => {
                field.push('"');
                rest = after;
            }
            None => return Ok((field, rest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let check = |line: &str, expect: Result<&[&str], &str>| {
            let got = fields(line);
            let expect = expect
                .map(|fields| fields.iter().map(|field| (*field).to_owned()).collect::<Vec<_>>())
                .map_err(str::to_owned);
            assert_eq!(got, expect, "{line}");
        };
        check("a=b,c", Ok(&["a=b", "c"]));
        check("\"a,b\",c", Ok(&["a,b", "c"]));
        check("\"a\"\"b\"", Ok(&["a\"b"]));
        check("a,,", Ok(&["a", "", ""]));
        check("a\"b", Err("parse error on line 1, column 2: bare \" in non-quoted-field"));
        check("", Err("EOF"));
    }
}
