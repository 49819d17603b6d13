//! The functions of templates: Docker's own here, Go's own by `gotmpl`.

use super::value::Value;

/// Docker's functions.
const OURS: &[&str] =
    &["json", "split", "join", "title", "lower", "upper", "pad", "truncate", "not", "index", "len", "table"];
/// Go's functions; `and` and `or` are the executor's, since they do not look at all of their operands.
const GO: &[&str] = &[
    "and", "or", "call", "html", "js", "print", "printf", "println", "slice", "urlquery", "eq", "ne", "lt",
    "le", "gt", "ge",
];

/// Whether a template may use the name.
pub(crate) fn exists(name: &str) -> bool {
    OURS.contains(&name) || GO.contains(&name)
}

/// Calls a function; the error is Go's text.
pub(crate) fn call(name: &str, arguments: &[Value]) -> Result<Value, String> {
    let count = arguments.len();
    let wrong = |want: usize| format!("wrong number of args for {name}: want {want} got {count}");
    match (name, arguments) {
        ("json", [value]) => Ok(Value::text(value.json(false))),
        ("lower", [value]) => Ok(Value::text(text_of(value)?.to_lowercase())),
        ("upper", [value]) => Ok(Value::text(text_of(value)?.to_uppercase())),
        ("title", [value]) => Ok(Value::text(title(text_of(value)?))),
        ("split", [text, separator]) => Ok(split(text_of(text)?, text_of(separator)?)),
        ("join", [list, separator]) => join(list, text_of(separator)?),
        ("pad", [text, before, after]) => pad(text_of(text)?, number_of(before)?, number_of(after)?),
        ("truncate", [text, length]) => {
            let (text, length) = (text_of(text)?, number_of(length)?);
            Ok(if text.is_empty() {
                Value::text("")
            } else {
                Value::text(text.chars().take(length).collect::<String>())
            })
        }
        ("not", [value]) => Ok(Value::Bool(!value.is_true())),
        ("len", [value]) => length(value),
        ("index", [value, keys @ ..]) => keys.iter().try_fold(value.clone(), |value, key| index(&value, key)),
        ("json" | "lower" | "upper" | "title" | "not" | "len", _) => Err(wrong(1)),
        ("split" | "join" | "truncate", _) => Err(wrong(2)),
        ("pad", _) => Err(wrong(3)),
        _ => go(name, arguments),
    }
}

fn text_of(value: &Value) -> Result<&str, String> {
    match value {
        Value::Text(text) | Value::Number(text) => Ok(text),
        other => Err(format!("wrong type for value; expected string; got {}", other.type_name())),
    }
}

fn number_of(value: &Value) -> Result<usize, String> {
    let number = match value {
        Value::Int(number) => usize::try_from(*number).ok(),
        Value::Number(text) => text.parse().ok(),
        _ => None,
    };
    number.ok_or_else(|| format!("wrong type for value; expected int; got {}", value.type_name()))
}

/// Each word with a capital.
fn title(text: &str) -> String {
    let mut inside = false;
    text.chars()
        .flat_map(|character| {
            let first = !inside;
            inside = character.is_alphanumeric() || character == '_' || character == '\'';
            if first { character.to_uppercase().collect::<Vec<_>>() } else { vec![character] }
        })
        .collect()
}

fn split(text: &str, separator: &str) -> Value {
    let parts: Vec<Value> = if separator.is_empty() {
        text.chars().map(|character| Value::text(character.to_string())).collect()
    } else {
        text.split(separator).map(Value::text).collect()
    };
    Value::List(parts.into())
}

fn join(list: &Value, separator: &str) -> Result<Value, String> {
    match list {
        Value::Nil | Value::Empty(_) => Ok(Value::text("")),
        Value::List(list) => {
            let parts: Vec<String> = list.iter().map(ToString::to_string).collect();
            Ok(Value::text(parts.join(separator)))
        }
        other => Err(format!("wrong type for value; expected []string; got {}", other.type_name())),
    }
}

fn pad(text: &str, before: usize, after: usize) -> Result<Value, String> {
    Ok(if text.is_empty() {
        Value::text("")
    } else {
        Value::text(format!("{}{text}{}", " ".repeat(before), " ".repeat(after)))
    })
}

fn length(value: &Value) -> Result<Value, String> {
    let length = match value {
        Value::Text(text) | Value::Number(text) => text.len(),
        Value::List(list) => list.len(),
        Value::Map(map) => map.len(),
        Value::Empty(_) => 0,
        Value::Nil => return Err("len of nil pointer".to_owned()),
        other => return Err(format!("len of type {}", other.type_name())),
    };
    Ok(Value::Int(i64::try_from(length).unwrap_or(i64::MAX)))
}

fn index(value: &Value, key: &Value) -> Result<Value, String> {
    match (value, key) {
        (Value::Map(map), key) => Ok(map.get(text_of(key)?).cloned().unwrap_or(Value::Nil)),
        (Value::List(list), key) => {
            let at = number_of(key)?;
            list.get(at).cloned().ok_or_else(|| format!("index out of range: {at}"))
        }
        (Value::Text(text), key) => {
            let at = number_of(key)?;
            let byte = text.as_bytes().get(at).ok_or_else(|| format!("index out of range: {at}"))?;
            Ok(Value::Int(i64::from(*byte)))
        }
        (Value::Empty("map[]"), _) => Ok(Value::Nil),
        (Value::Nil, _) => Err("index of untyped nil".to_owned()),
        (other, _) => Err(format!("can't index item of type {}", other.type_name())),
    }
}

/// Runs one of Go's functions through `gotmpl`, which has Go's formatting and comparing.
fn go(name: &str, arguments: &[Value]) -> Result<Value, String> {
    let list: Vec<gotmpl::Value> = arguments.iter().map(convert).collect();
    let operands: String = (0..list.len()).map(|index| format!(" (index . {index})")).collect();
    let data = gotmpl::Value::List(list.into());
    let text = gotmpl::Template::new("")
        .parse(&format!("{{{{{name}{operands}}}}}"))
        .and_then(|template| template.execute_to_string(&data))
        .map_err(|error| error.to_string())?;
    Ok(match (name, text.as_str()) {
        ("eq" | "ne" | "lt" | "le" | "gt" | "ge", text) => Value::Bool(text == "true"),
        (_, text) => Value::text(text),
    })
}

fn convert(value: &Value) -> gotmpl::Value {
    match value {
        Value::Nil | Value::Empty(_) => gotmpl::Value::Nil,
        Value::Bool(value) => gotmpl::Value::Bool(*value),
        Value::Int(value) => gotmpl::Value::Int(*value),
        Value::Float(value) => gotmpl::Value::Float(*value),
        Value::Number(text) => match (text.parse(), text.parse()) {
            (Ok(number), _) => gotmpl::Value::Int(number),
            (_, Ok(number)) => gotmpl::Value::Float(number),
            _ => gotmpl::Value::String((&**text).into()),
        },
        Value::Text(text) => gotmpl::Value::String((&**text).into()),
        Value::List(list) => gotmpl::Value::List(list.iter().map(convert).collect()),
        Value::Map(map) => gotmpl::Value::Map(
            map.iter()
                .map(|(name, value)| ((&**name).into(), convert(value)))
                .collect::<std::collections::BTreeMap<_, _>>()
                .into(),
        ),
        // What is left has a form of its own that only we can print.
        Value::Struct(_) | Value::Row(_) => gotmpl::Value::String(value.to_string().into()),
    }
}
