//! A list of things, formatted as the user asked: table, template, JSON, or ids only.

use std::rc::Rc;

use super::table::Columns;
use super::template::{Missing, Template};
use super::value::{Row, Value};
use crate::outcome::Failure;

/// What `--format` asks for.
pub(crate) enum Format {
    /// Columns with a header.
    Table(Template),
    /// One line a row.
    Plain(Template),
}

impl Format {
    /// Reads `--format`. `table` and an empty text mean `table`, the command's own columns; `json` the whole row.
    ///
    /// # Errors
    /// Docker's text for a template that does not parse.
    pub(crate) fn parse(text: &str, table: &str) -> Result<Self, Failure> {
        let template = |text: &str| {
            Template::parse(text).map_err(|error| Failure::new(format!("template parsing error: {error}")))
        };
        let unescape = |text: &str| text.trim_matches(' ').replace("\\t", "\t").replace("\\n", "\n");
        match text {
            "" | "table" => Ok(Self::Table(template(table)?)),
            "json" => Ok(Self::Plain(template("{{json .}}")?)),
            text => match text.strip_prefix("table") {
                Some(rest) => Ok(Self::Table(template(&unescape(rest))?)),
                None => Ok(Self::Plain(template(&unescape(text))?)),
            },
        }
    }

    /// The rows as text. `headers` names the columns of a table.
    ///
    /// # Errors
    /// Docker's text for a template that does not fit the rows.
    pub(crate) fn render(
        &self,
        headers: &[(&'static str, &'static str)],
        rows: &[Rc<dyn Row>],
    ) -> Result<String, Failure> {
        let failed = |error| Failure::new(format!("template parsing error: {error}"));
        let mut text = String::new();
        let template = match self {
            Self::Table(template) => {
                let header: Rc<dyn Row> = Rc::new(Header(headers.to_vec()));
                template.run(&Value::Row(header), Missing::Print, &mut text).map_err(failed)?;
                text.push('\n');
                template
            }
            Self::Plain(template) => template,
        };
        for row in rows {
            template.run(&Value::Row(Rc::clone(row)), Missing::Fail, &mut text).map_err(failed)?;
            text.push('\n');
        }
        Ok(match self {
            Self::Table(_) => Columns::LIST.align(&text),
            Self::Plain(_) => text,
        })
    }
}

impl Format {
    /// One value that is no list.
    ///
    /// # Errors
    /// Docker's text for a template that does not fit.
    pub(crate) fn render_value(&self, value: &Value) -> Result<String, Failure> {
        let (Self::Table(template) | Self::Plain(template)) = self;
        let mut text = String::new();
        template
            .run(value, Missing::Fail, &mut text)
            .map_err(|error| Failure::new(format!("template parsing error: {error}")))?;
        text.push('\n');
        Ok(text)
    }
}

/// The header of a table: each method answers with the title of its column.
struct Header(Vec<(&'static str, &'static str)>);

impl Row for Header {
    fn type_name(&self) -> &'static str {
        "map[string]string"
    }

    fn get(&self, name: &str) -> Option<Value> {
        let title = self.0.iter().find(|(known, _)| *known == name).map(|(_, title)| Value::text(*title));
        Some(title.unwrap_or(Value::Empty("<no value>")))
    }

    fn call(&self, name: &str, arguments: &[Value]) -> Option<Value> {
        // `{{.Label "com.example"}}` has the last part of the label's name as its title.
        match (name, arguments) {
            ("Label", [Value::Text(label)]) => {
                Some(Value::text(label.rsplit('.').next().unwrap_or_default()))
            }
            _ => self.get(name),
        }
    }

    fn names(&self) -> &'static [&'static str] {
        &[]
    }
}

/// Shortens an id: no algorithm, twelve characters.
pub(crate) fn short_id(id: &str) -> &str {
    let id = id.split_once(':').map_or(id, |(_, id)| id);
    id.get(..12).unwrap_or(id)
}

/// Cuts a text to `width` columns, the last of them `…`.
pub(crate) fn ellipsis(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Thing(&'static str);

    impl Row for Thing {
        fn type_name(&self) -> &'static str {
            "*formatter.Thing"
        }

        fn get(&self, name: &str) -> Option<Value> {
            (name == "ID").then(|| Value::text(self.0))
        }

        fn names(&self) -> &'static [&'static str] {
            &["ID"]
        }
    }

    fn check(format: &str, expect: &str) {
        let rows: Vec<Rc<dyn Row>> = vec![Rc::new(Thing("a")), Rc::new(Thing("<b>"))];
        let got = Format::parse(format, "{{.ID}}\tx")
            .and_then(|format| format.render(&[("ID", "THING ID")], &rows));
        assert_eq!(got.unwrap_or_else(|failure| failure.text), expect, "{format}");
    }

    #[test]
    fn every_kind_of_format() {
        check("", "THING ID   x\na          x\n<b>        x\n");
        check("table", "THING ID   x\na          x\n<b>        x\n");
        check("table {{.ID}}\\t{{upper .ID}}", "THING ID   THING ID\na          A\n<b>        <B>\n");
        check("{{.ID}}\\n", "a\n\n<b>\n\n");
        check("json", "{\"ID\":\"a\"}\n{\"ID\":\"\\u003cb\\u003e\"}\n");
        check("{{json .ID}}", "\"a\"\n\"<b>\"\n");
        check(
            "{{.Foo}}",
            "template parsing error: template: :1:2: executing \"\" at <.Foo>: can't evaluate field Foo in type *formatter.Thing",
        );
        check("{{.ID", "template parsing error: template: :1: unclosed action");
    }

    #[test]
    fn long_texts_are_cut() {
        assert_eq!(ellipsis("abcdef", 6), "abcdef");
        assert_eq!(ellipsis("abcdefg", 6), "abcde…");
        assert_eq!(short_id("sha256:0123456789abcdef"), "0123456789ab");
    }
}
