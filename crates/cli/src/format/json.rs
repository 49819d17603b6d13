//! The engine's JSON, indented without being understood: order and numbers stay as they were sent.

/// Indents by four blanks, as Go's `json.Indent` does.
pub(crate) fn indent(json: &str) -> String {
    indent_by(json, "    ")
}

/// Indents by something else.
pub(crate) fn indent_by(json: &str, blanks: &str) -> String {
    let mut output = String::with_capacity(json.len() * 2);
    let mut depth = 0_usize;
    let mut in_text = false;
    let mut escaped = false;
    // An opening bracket waits for what follows: an empty object stays on its line.
    let mut opened = false;
    for character in json.chars() {
        if in_text {
            output.push(character);
            in_text = escaped || character != '"';
            escaped = character == '\\' && !escaped;
            continue;
        }
        if character.is_ascii_whitespace() {
            continue;
        }
        if opened && character != '}' && character != ']' {
            depth += 1;
            new_line(&mut output, blanks, depth);
        }
        match character {
            '{' | '[' => {
                output.push(character);
                opened = true;
                continue;
            }
            '}' | ']' => {
                if !opened {
                    depth = depth.saturating_sub(1);
                    new_line(&mut output, blanks, depth);
                }
                output.push(character);
            }
            ',' => {
                output.push(character);
                new_line(&mut output, blanks, depth);
            }
            ':' => output.push_str(": "),
            '"' => {
                output.push(character);
                in_text = true;
            }
            character => output.push(character),
        }
        opened = false;
    }
    output
}

fn new_line(output: &mut String, blanks: &str, depth: usize) {
    output.push('\n');
    output.extend(std::iter::repeat_n(blanks, depth));
}

/// The JSON without the blanks between its parts.
pub(crate) fn compact(json: &str) -> String {
    let mut output = String::with_capacity(json.len());
    let mut in_text = false;
    let mut escaped = false;
    for character in json.chars() {
        if in_text {
            in_text = escaped || character != '"';
            escaped = character == '\\' && !escaped;
        } else if character == '"' {
            in_text = true;
        } else if character.is_ascii_whitespace() {
            continue;
        }
        output.push(character);
    }
    output
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_indented_as_go_does_it() {
        let json = r#"{"a":[],"b":{},"c":[1,{"d":"x, {\"}"}],"e":-1.50}"#;
        let indented = indent(json);
        assert_eq!(
            indented,
            "{\n    \"a\": [],\n    \"b\": {},\n    \"c\": [\n        1,\n        {\n            \"d\": \"x, {\\\"}\"\n        }\n    ],\n    \"e\": -1.50\n}"
        );
        assert_eq!(compact(&indented), json);
        assert_eq!(indent(&indented), indented);
    }
}
