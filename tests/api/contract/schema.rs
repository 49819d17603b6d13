//! The schemas of the contract, and whether an answer fits one.

use serde_json::Value;

/// Fields that are pointers in Docker's own structs, so that its answers have null where the contract has a number.
const POINTERS: [&str; 2] = [".HostConfig.MemorySwappiness", "$.ExitCode"];

/// Fields of `/system/df` in their older form, which API 1.52 still has beside the newer one.
const OLDER: [&str; 6] =
    ["$.DockerVersion", "$.BuildCache", "$.Containers", "$.Images", "$.LayersSize", "$.Volumes"];

/// The contract: operations with the schema of each status.
pub(crate) struct Contract(Value);

impl Contract {
    pub(crate) fn new(text: &str) -> Self {
        Self(serde_json::from_str(text).expect("the contract is JSON"))
    }

    /// Methods and paths.
    pub(crate) fn operations(&self) -> impl Iterator<Item = (String, String)> {
        let paths = self.0["paths"].as_object().expect("paths");
        paths.iter().flat_map(|(path, methods)| {
            let methods = methods.as_object().expect("methods").keys();
            methods.map(|method| (method.clone(), path.clone()))
        })
    }

    /// Says what is wrong with an answer.
    pub(crate) fn check(&self, method: &str, path: &str, status: u16, text: &str) -> Result<(), String> {
        let statuses = &self.0["paths"][path][method];
        let schema = match statuses.get(status.to_string()) {
            // The error of every operation has the same shape, and not all of them are listed.
            None if (400..600).contains(&status) => &self.0["definitions"]["ErrorResponse"],
            None => return Err("the contract does not know this status".to_owned()),
            Some(schema) => schema,
        };
        // A body that is no JSON (a stream, a text) has no schema, or is one string.
        if method == "HEAD"
            || schema.is_null()
            || schema["type"] == "string"
            || text.is_empty() && status < 400
        {
            return Ok(());
        }
        // A refusal of what is no websocket is plain text.
        if path.ends_with("/attach/ws") && status == 400 {
            return Ok(());
        }
        // Of a stream of values each is one.
        for value in serde_json::Deserializer::from_str(text).into_iter::<Value>() {
            self.fits(&value.map_err(|error| error.to_string())?, schema, "$")?;
        }
        Ok(())
    }

    fn fits(&self, value: &Value, schema: &Value, at: &str) -> Result<(), String> {
        if let Some(name) = schema["$ref"].as_str() {
            let definition = &self.0["definitions"][name];
            if definition.is_null() {
                return Err(format!("{at}: the contract has no {name}"));
            }
            return self.fits(value, definition, at);
        }
        let (mut properties, mut required) = (Vec::new(), Vec::new());
        self.gather(schema, &mut properties, &mut required);
        let closed = !properties.is_empty();
        let kind = self.kind(schema).unwrap_or(if closed { "object" } else { "" });
        for part in schema["allOf"].as_array().into_iter().flatten().filter(|_| !closed) {
            self.fits(value, part, at)?;
        }
        // Go writes a list, a map or a pointer that nobody made as null, whatever the contract says.
        if value.is_null() {
            let may = schema["x-nullable"] == true
                || matches!(kind, "array" | "object" | "")
                || POINTERS.iter().any(|pointer| at.ends_with(pointer));
            return if may { Ok(()) } else { Err(format!("{at}: null is no {kind}")) };
        }
        let right = match kind {
            "string" => value.is_string(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            _ => true,
        };
        if !right {
            return Err(format!("{at}: {value} is no {kind}"));
        }
        if let Some(words) = schema["enum"].as_array()
            && !words.contains(value)
        {
            return Err(format!("{at}: {value} is none of {words:?}"));
        }
        if let Some(list) = value.as_array() {
            for (index, item) in list.iter().enumerate() {
                self.fits(item, &schema["items"], &format!("{at}[{index}]"))?;
            }
        }
        let Some(fields) = value.as_object() else { return Ok(()) };
        for name in required {
            if !fields.contains_key(name) {
                return Err(format!("{at}: {name} is missing"));
            }
        }
        for (name, field) in fields {
            let here = format!("{at}.{name}");
            match properties.iter().find(|(known, _)| known == name) {
                Some((_, schema)) => self.fits(field, schema, &here)?,
                None if schema["additionalProperties"].is_object() => {
                    self.fits(field, &schema["additionalProperties"], &here)?;
                }
                None if closed
                    && schema["additionalProperties"] != true
                    && !OLDER.contains(&here.as_str()) =>
                {
                    return Err(format!("{here}: the contract knows no such field"));
                }
                None => {}
            }
        }
        Ok(())
    }

    /// The type of a schema, its own or that of one of its parts.
    fn kind<'s>(&'s self, schema: &'s Value) -> Option<&'s str> {
        let part = |part: &'s Value| self.kind(part);
        let named = schema["$ref"].as_str().and_then(|name| self.kind(&self.0["definitions"][name]));
        let parts = || schema["allOf"].as_array().into_iter().flatten().find_map(part);
        schema["type"].as_str().or(named).or_else(parts)
    }

    /// The properties of a schema and of those that it is made of.
    fn gather<'s>(
        &'s self,
        schema: &'s Value,
        properties: &mut Vec<(&'s str, &'s Value)>,
        required: &mut Vec<&'s str>,
    ) {
        if let Some(name) = schema["$ref"].as_str() {
            return self.gather(&self.0["definitions"][name], properties, required);
        }
        for part in schema["allOf"].as_array().into_iter().flatten() {
            self.gather(part, properties, required);
        }
        let own = schema["properties"].as_object().into_iter().flatten();
        properties.extend(own.map(|(name, schema)| (name.as_str(), schema)));
        required.extend(schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str));
    }
}
