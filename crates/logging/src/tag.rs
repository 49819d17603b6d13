//! The tag of a container's lines: a Go template over what is known of the container.

use std::collections::BTreeMap;

use gotmpl::parse::{Expr, ListNode, Node};
use gotmpl::{MissingKey, Template, Value};

use crate::{Container, Error, hostname};

/// The tag of containers that name none.
pub(crate) const DEFAULT: &str = "{{.ID}}";

/// Fills a container's tag in: the option `tag`, or `default` where there is none.
///
/// # Errors
/// Go's text: `template: log-tag:1: unclosed action`.
pub fn render(container: &Container, default: &str) -> Result<String, Error> {
    let source = container.options.get("tag").map_or(default, String::as_str);
    if !source.contains("{{") {
        return Ok(source.to_owned());
    }
    let failed = |error: gotmpl::TemplateError| match error {
        gotmpl::TemplateError::Parse { line, message, .. }
        | gotmpl::TemplateError::Lex { line, message, .. } => {
            Error::new(format!("template: log-tag:{line}: {message}"))
        }
        error => Error::new(format!("template: log-tag:1: {error}")),
    };
    let data = data(container);
    let template = Template::new("log-tag")
        .missing_key(MissingKey::Error)
        .func("lower", |arguments| Ok(Value::String(text(arguments, 0).to_lowercase().into())))
        .func("upper", |arguments| Ok(Value::String(text(arguments, 0).to_uppercase().into())))
        .func("truncate", |arguments| {
            let length =
                arguments.get(1).and_then(Value::as_int).and_then(|length| usize::try_from(length).ok());
            let whole = text(arguments, 0);
            Ok(Value::String(whole.chars().take(length.unwrap_or(usize::MAX)).collect::<String>().into()))
        })
        .func("split", |arguments| {
            let (whole, by) = (text(arguments, 0), text(arguments, 1));
            Ok(Value::List(whole.split(&by).map(|part| Value::String(part.into())).collect()))
        })
        .func("join", |arguments| {
            let by = text(arguments, 1);
            let parts = match arguments.first() {
                Some(Value::List(list)) => list.iter().map(ToString::to_string).collect::<Vec<_>>(),
                _ => Vec::new(),
            };
            Ok(Value::String(parts.join(&by).into()))
        })
        .parse(source)
        .map_err(failed)?;
    if let Some(body) = template.lookup("log-tag") {
        check_fields(body, &data, source)?;
    }
    template.execute_to_string(&data).map_err(failed)
}

fn text(arguments: &[Value], at: usize) -> String {
    arguments.get(at).map(ToString::to_string).unwrap_or_default()
}

/// Refuses a name that containers do not have, in Go's words.
fn check_fields(body: &ListNode, data: &Value, source: &str) -> Result<(), Error> {
    let Value::Map(known) = data else { return Ok(()) };
    for node in &body.nodes {
        let Node::Action(action) = node else { continue };
        for expression in action.pipe.commands.iter().flat_map(|command| &command.args) {
            let Expr::Field(_, names) = expression else { continue };
            let Some(first) = names.first() else { continue };
            let is_known = known.keys().any(|key| **key == **first);
            if !is_known {
                let at = source.find(&format!(".{first}")).unwrap_or_default();
                return Err(Error::new(format!(
                    "template: log-tag:1:{at}: executing \"log-tag\" at <.{first}>: can't evaluate field {first} in type \
                     *logger.Info"
                )));
            }
        }
    }
    Ok(())
}

fn data(container: &Container) -> Value {
    let string = |text: &str| Value::String(text.into());
    let list = |list: &[String]| Value::List(list.iter().map(|text| string(text)).collect());
    let map = |map: &BTreeMap<String, String>| {
        Value::Map(
            map.iter()
                .map(|(name, value)| (name.as_str().into(), string(value)))
                .collect::<BTreeMap<_, _>>()
                .into(),
        )
    };
    let slashed = format!("/{}", container.name);
    let fields = [
        ("ID", string(container.short_id())),
        ("FullID", string(&container.id)),
        ("Name", string(&container.name)),
        // As Docker cuts it: with the algorithm.
        ("ImageID", string(container.image_id.get(..12).unwrap_or(&container.image_id))),
        ("ImageFullID", string(&container.image_id)),
        ("ImageName", string(&container.image_name)),
        ("Command", string(&container.command())),
        ("Hostname", string(&hostname())),
        ("DaemonName", string("docker")),
        ("Config", map(&container.options)),
        ("ContainerID", string(&container.id)),
        ("ContainerName", string(&slashed)),
        ("ContainerEntrypoint", string(&container.entrypoint)),
        ("ContainerArgs", list(&container.args)),
        ("ContainerImageID", string(&container.image_id)),
        ("ContainerImageName", string(&container.image_name)),
        ("ContainerCreated", string(&container.created)),
        ("ContainerEnv", list(&container.env)),
        ("ContainerLabels", map(&container.labels)),
        ("LogPath", string(&container.log_path)),
    ];
    Value::Map(
        fields.into_iter().map(|(name, value)| (name.into(), value)).collect::<BTreeMap<_, _>>().into(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::container;

    fn tag(source: &str) -> String {
        let container = container(&[("tag", source)]);
        render(&container, DEFAULT).unwrap_or_else(|error| error.to_string())
    }

    #[test]
    fn tags_are_templates() {
        assert_eq!(render(&container(&[]), DEFAULT).unwrap(), "0123456789ab");
        assert_eq!(tag("{{.Name}}/{{.ImageID}}/{{.ImageName}}"), "web/sha256:ddee6/httpd");
        assert_eq!(tag("{{.ContainerName}} {{.Command}} {{.DaemonName}}"), "/web httpd -X docker");
        assert_eq!(tag(r#"{{index .ContainerLabels "a"}}|{{truncate .ID 4}}|{{upper .Name}}"#), "1|0123|WEB");
        assert_eq!(tag("plain"), "plain");
        assert_eq!(tag(""), "");
    }

    #[test]
    fn what_is_no_tag_is_refused_in_gos_words() {
        assert_eq!(tag("{{.Foo"), "template: log-tag:1: unclosed action");
        assert_eq!(
            tag("{{.Foo}}"),
            "template: log-tag:1:2: executing \"log-tag\" at <.Foo>: can't evaluate field Foo in type *logger.Info"
        );
    }
}
