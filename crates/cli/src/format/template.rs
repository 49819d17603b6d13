//! Go templates, run over [`Value`]s.
//!
//! The text is parsed by `gotmpl`; it is run here because Docker's users see Go's structs, methods of rows and error
//! messages, which a plain map cannot show.

use std::fmt::Write as _;

use gotmpl::parse::{
    BranchNode, CommandNode, DefineNode, Expr, ListNode, Node, Number, Parser, PipeNode, Pos,
};

use super::functions;
use super::value::Value;

/// A parsed template.
#[derive(Debug)]
pub(crate) struct Template {
    source: String,
    body: ListNode,
    defines: Vec<DefineNode>,
}

/// What to do when a map lacks a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// Print `<no value>`.
    Print,
    /// Fail.
    Fail,
}

/// A template that could not be run; the text is Go's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct TemplateError(String);

/// How a sequence of nodes ended.
enum Flow {
    Next,
    Break,
    Continue,
}

impl Template {
    /// Parses `source`.
    ///
    /// # Errors
    /// Go's text: `template: :1: unclosed action`.
    pub(crate) fn parse(source: &str) -> Result<Self, TemplateError> {
        let failed = |error: gotmpl::TemplateError| match error {
            gotmpl::TemplateError::Parse { line, message, .. }
            | gotmpl::TemplateError::Lex { line, message, .. } => {
                TemplateError(format!("template: :{line}: {message}"))
            }
            error => TemplateError(format!("template: :1: {error}")),
        };
        check_blocks(source)?;
        let (body, defines) = Parser::new(source, "{{", "}}").and_then(Parser::parse).map_err(failed)?;
        check_functions(&body)?;
        for define in &defines {
            check_functions(&define.body)?;
        }
        Ok(Self { source: source.to_owned(), body, defines })
    }

    /// Runs the template over `data`. What was printed before an error is in `into`.
    pub(crate) fn run(&self, data: &Value, missing: Missing, into: &mut String) -> Result<(), TemplateError> {
        let variables = vec![("$".to_owned(), data.clone())];
        let mut run = Run { template: self, missing, variables, output: into, depth: 0 };
        run.list(&self.body, data).map(|_| ())
    }
}

struct Run<'a> {
    template: &'a Template,
    missing: Missing,
    variables: Vec<(String, Value)>,
    output: &'a mut String,
    depth: usize,
}

const DEPTH: usize = 1000;

impl Run<'_> {
    fn list(&mut self, list: &ListNode, dot: &Value) -> Result<Flow, TemplateError> {
        for node in &list.nodes {
            match node {
                Node::Text(text) => self.output.push_str(&text.text),
                Node::Action(action) => {
                    let value = self.pipe(&action.pipe, dot)?;
                    if action.pipe.decl.is_empty() {
                        self.print(&value);
                    }
                }
                Node::Break(_) => return Ok(Flow::Break),
                Node::Continue(_) => return Ok(Flow::Continue),
                Node::If(branch) => {
                    let flow = self.scoped(|run| run.either(branch, dot, false))?;
                    if !matches!(flow, Flow::Next) {
                        return Ok(flow);
                    }
                }
                Node::With(branch) => {
                    let flow = self.scoped(|run| run.either(branch, dot, true))?;
                    if !matches!(flow, Flow::Next) {
                        return Ok(flow);
                    }
                }
                Node::Range(branch) => self.scoped(|run| run.range(branch, dot))?,
                Node::List(list) => _ = self.list(list, dot)?,
                Node::Template(call) => {
                    let data = call.pipe.as_ref().map_or(Ok(Value::Nil), |pipe| self.pipe(pipe, dot))?;
                    self.call_template(&call.name, &data, call.pos)?;
                }
                Node::Define(_) => {}
            }
        }
        Ok(Flow::Next)
    }

    fn scoped<T>(&mut self, body: impl FnOnce(&mut Self) -> T) -> T {
        let variables = self.variables.len();
        let result = body(self);
        self.variables.truncate(variables);
        result
    }

    fn either(&mut self, branch: &BranchNode, dot: &Value, with: bool) -> Result<Flow, TemplateError> {
        let value = self.pipe(&branch.pipe, dot)?;
        if value.is_true() {
            return self.list(&branch.body, if with { &value } else { dot });
        }
        match &branch.else_body {
            Some(body) => self.list(body, dot),
            None => Ok(Flow::Next),
        }
    }

    fn range(&mut self, branch: &BranchNode, dot: &Value) -> Result<(), TemplateError> {
        let pairs = match self.pipe_value(&branch.pipe, dot)? {
            Value::List(list) => {
                list.iter().enumerate().map(|(index, item)| (int(index), item.clone())).collect::<Vec<_>>()
            }
            Value::Map(map) => {
                map.iter().map(|(name, value)| (Value::Text(name.clone()), value.clone())).collect()
            }
            Value::Int(count) => (0..count).map(|index| (Value::Int(index), Value::Int(index))).collect(),
            Value::Nil | Value::Empty(_) => Vec::new(),
            other => {
                return Err(self.error(branch.pipe.pos, &format!("range can't iterate over {other}")));
            }
        };
        if pairs.is_empty() {
            if let Some(body) = &branch.else_body {
                self.list(body, dot)?;
            }
            return Ok(());
        }
        for (key, value) in pairs {
            let flow = self.scoped(|run| {
                match branch.pipe.decl.as_slice() {
                    [only] => run.variables.push((only.to_string(), value.clone())),
                    [first, second] => {
                        run.variables.push((first.to_string(), key));
                        run.variables.push((second.to_string(), value.clone()));
                    }
                    _ => {}
                }
                run.list(&branch.body, &value)
            })?;
            if matches!(flow, Flow::Break) {
                break;
            }
        }
        Ok(())
    }

    fn call_template(&mut self, name: &str, data: &Value, pos: Pos) -> Result<(), TemplateError> {
        let template = self.template;
        let Some(define) = template.defines.iter().find(|define| define.name == name) else {
            return Err(self.error(pos, &format!("template {name:?} not defined")));
        };
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(self.error(pos, "exceeded maximum template depth"));
        }
        let outer = std::mem::replace(&mut self.variables, vec![("$".to_owned(), data.clone())]);
        let result = self.list(&define.body, data);
        self.variables = outer;
        self.depth -= 1;
        result.map(|_| ())
    }

    /// Evaluates a pipeline and binds its variables.
    fn pipe(&mut self, pipe: &PipeNode, dot: &Value) -> Result<Value, TemplateError> {
        let value = self.pipe_value(pipe, dot)?;
        for name in &pipe.decl {
            if pipe.is_assign {
                if let Some(variable) =
                    self.variables.iter_mut().rev().find(|(known, _)| known == name.as_str())
                {
                    variable.1 = value.clone();
                }
            } else {
                self.variables.push((name.to_string(), value.clone()));
            }
        }
        Ok(value)
    }

    fn pipe_value(&mut self, pipe: &PipeNode, dot: &Value) -> Result<Value, TemplateError> {
        let mut value = None;
        for command in &pipe.commands {
            value = Some(self.command(command, dot, value)?);
        }
        Ok(value.unwrap_or(Value::Nil))
    }

    /// Evaluates one command; `last` is what the command before it in the pipeline left.
    fn command(
        &mut self,
        command: &CommandNode,
        dot: &Value,
        last: Option<Value>,
    ) -> Result<Value, TemplateError> {
        let (Some(first), rest) = (command.args.first(), command.args.get(1..).unwrap_or_default()) else {
            return Ok(Value::Nil);
        };
        match first {
            Expr::Identifier(pos, name) => self.function(*pos, name, rest, dot, last),
            Expr::Field(pos, fields) => {
                let arguments = self.arguments(rest, dot, last)?;
                self.chain(*pos, dot, fields, &arguments)
            }
            Expr::Variable(pos, name, fields) => {
                let arguments = self.arguments(rest, dot, last)?;
                let value = self.variable(*pos, name)?;
                self.chain(*pos, &value, fields, &arguments)
            }
            Expr::Chain(pos, inner, fields) => {
                let arguments = self.arguments(rest, dot, last)?;
                let value = self.operand(inner, dot)?;
                self.chain(*pos, &value, fields, &arguments)
            }
            operand if rest.is_empty() && last.is_none() => self.operand(operand, dot),
            operand => {
                let what = self.source_of(operand.pos());
                Err(self.error(operand.pos(), &format!("can't give argument to non-function {what}")))
            }
        }
    }

    fn arguments(
        &mut self,
        rest: &[Expr],
        dot: &Value,
        last: Option<Value>,
    ) -> Result<Vec<Value>, TemplateError> {
        let mut arguments = Vec::with_capacity(rest.len() + 1);
        for operand in rest {
            arguments.push(self.operand(operand, dot)?);
        }
        arguments.extend(last);
        Ok(arguments)
    }

    fn operand(&mut self, operand: &Expr, dot: &Value) -> Result<Value, TemplateError> {
        Ok(match operand {
            Expr::Dot(_) => dot.clone(),
            Expr::Field(pos, fields) => self.chain(*pos, dot, fields, &[])?,
            Expr::Variable(pos, name, fields) => {
                let value = self.variable(*pos, name)?;
                self.chain(*pos, &value, fields, &[])?
            }
            Expr::Identifier(pos, name) => self.function(*pos, name, &[], dot, None)?,
            Expr::String(_, text) => Value::text(&**text),
            Expr::Number(_, Number::Int(number)) => Value::Int(*number),
            Expr::Number(_, Number::Uint(number)) => Value::Number(number.to_string().into()),
            Expr::Number(_, Number::Float(number)) => Value::Float(*number),
            Expr::Bool(_, value) => Value::Bool(*value),
            Expr::Nil(_) => Value::Nil,
            Expr::Pipe(_, pipe) => self.scoped(|run| run.pipe(pipe, dot))?,
            Expr::Chain(pos, inner, fields) => {
                let value = self.operand(inner, dot)?;
                self.chain(*pos, &value, fields, &[])?
            }
        })
    }

    fn variable(&self, pos: Pos, name: &str) -> Result<Value, TemplateError> {
        let found = self.variables.iter().rev().find(|(known, _)| known == name);
        found
            .map(|(_, value)| value.clone())
            .ok_or_else(|| self.error(pos, &format!("undefined variable: {name}")))
    }

    /// `value.A.B.C`; arguments go to the last of them.
    fn chain(
        &self,
        pos: Pos,
        value: &Value,
        fields: &[impl AsRef<str>],
        arguments: &[Value],
    ) -> Result<Value, TemplateError> {
        let mut value = value.clone();
        for (index, name) in fields.iter().enumerate() {
            let arguments = if index + 1 == fields.len() { arguments } else { &[] };
            value = self.field(pos, fields, &value, name.as_ref(), arguments)?;
        }
        Ok(value)
    }

    fn field(
        &self,
        pos: Pos,
        chain: &[impl AsRef<str>],
        value: &Value,
        name: &str,
        arguments: &[Value],
    ) -> Result<Value, TemplateError> {
        let fail = |text: String| {
            let names: Vec<&str> = chain.iter().map(AsRef::as_ref).collect();
            // Go places the error of a chain at its second field.
            let column = pos.offset + if names.len() > 1 { names[0].len() + 1 } else { 0 };
            Err(self.error_at(column, &format!(".{}", names.join(".")), &text))
        };
        match value {
            Value::Row(row) => {
                let found = if arguments.is_empty() { row.get(name) } else { row.call(name, arguments) };
                match found {
                    Some(value) => Ok(value),
                    None => fail(format!("can't evaluate field {name} in type {}", row.type_name())),
                }
            }
            Value::Struct(value) => match value.get(name) {
                Some(value) if arguments.is_empty() => Ok(value.clone()),
                Some(_) => fail(format!("{name} has arguments but cannot be invoked as function")),
                None => fail(format!("can't evaluate field {name} in type {}", value.type_name)),
            },
            Value::Map(map) => match (map.get(name), self.missing) {
                (Some(value), _) => Ok(value.clone()),
                (None, Missing::Print) => Ok(Value::Empty("<no value>")),
                (None, Missing::Fail) => {
                    fail(format!("map has no entry for key {}", crate::flags::quote(name)))
                }
            },
            Value::Empty("map[]") if self.missing == Missing::Print => Ok(Value::Empty("<no value>")),
            Value::Nil => fail(format!("nil data; no entry for key {}", crate::flags::quote(name))),
            _ => fail(format!("can't evaluate field {name} in type interface {{}}")),
        }
    }

    fn function(
        &mut self,
        pos: Pos,
        name: &str,
        rest: &[Expr],
        dot: &Value,
        last: Option<Value>,
    ) -> Result<Value, TemplateError> {
        if let "and" | "or" = name {
            // These stop at the first operand that decides.
            let mut value = Value::Nil;
            for operand in rest {
                value = self.operand(operand, dot)?;
                if value.is_true() == (name == "or") {
                    return Ok(value);
                }
            }
            return Ok(last.unwrap_or(value));
        }
        let arguments = self.arguments(rest, dot, last)?;
        functions::call(name, &arguments).map_err(|text| {
            let text =
                if text.starts_with("wrong number") { text } else { format!("error calling {name}: {text}") };
            self.error_at(pos.offset, &self.source_of(pos), &text)
        })
    }

    fn print(&mut self, value: &Value) {
        match value {
            Value::Nil if self.missing == Missing::Fail => self.output.push_str("<no value>"),
            value => _ = write!(self.output, "{value}"),
        }
    }

    fn error(&self, pos: Pos, text: &str) -> TemplateError {
        self.error_at(pos.offset, &self.source_of(pos), text)
    }

    fn error_at(&self, offset: usize, context: &str, text: &str) -> TemplateError {
        let before = self.template.source.get(..offset).unwrap_or_default();
        let line = 1 + before.matches('\n').count();
        let column = before.len() - before.rfind('\n').map_or(0, |at| at + 1);
        TemplateError(format!("template: :{line}:{column}: executing \"\" at <{context}>: {text}"))
    }

    /// The words of the template from `pos` on, up to the end of the action.
    fn source_of(&self, pos: Pos) -> String {
        let rest = self.template.source.get(pos.offset..).unwrap_or_default();
        let end = rest.find(['|', '}', ')']).unwrap_or(rest.len());
        rest[..end].trim_end_matches([' ', '-']).to_owned()
    }
}

fn int(index: usize) -> Value {
    Value::Int(i64::try_from(index).unwrap_or(i64::MAX))
}

/// Refuses blocks that are not closed and ends of blocks that were not opened: the parser takes either for the end.
fn check_blocks(source: &str) -> Result<(), TemplateError> {
    let mut depth = 0_usize;
    let mut rest = source;
    let mut line = 1;
    while let Some(start) = rest.find("{{") {
        line += rest[..start].matches('\n').count();
        rest = &rest[start + 2..];
        let action = rest.strip_prefix("- ").unwrap_or(rest).trim_start();
        let word = action.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
        match word {
            "if" | "range" | "with" | "define" | "block" => depth += 1,
            "end" | "else" if depth == 0 => {
                return Err(TemplateError(format!("template: :{line}: unexpected {{{{{word}}}}}")));
            }
            "end" => depth -= 1,
            _ => {}
        }
        let Some(end) = end_of_action(rest) else { return Ok(()) };
        line += rest[..end].matches('\n').count();
        rest = &rest[end..];
    }
    if depth == 0 { Ok(()) } else { Err(TemplateError(format!("template: :{line}: unexpected EOF"))) }
}

/// Where the action ends, its quoted texts left out of account; `None` if it does not.
fn end_of_action(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (at, character) in text.char_indices() {
        match (quote, character) {
            (Some(open), _) if character == open && !escaped => quote = None,
            (Some('"' | '\''), '\\') if !escaped => {
                escaped = true;
                continue;
            }
            (Some(_), _) => {}
            (None, '"' | '`' | '\'') => quote = Some(character),
            (None, '}') if text[at..].starts_with("}}") => return Some(at + 2),
            (None, _) => {}
        }
        escaped = false;
    }
    None
}

/// Refuses names of functions that do not exist, before anything is printed, as Go does.
fn check_functions(list: &ListNode) -> Result<(), TemplateError> {
    for node in &list.nodes {
        match node {
            Node::Action(action) => check_pipe(&action.pipe)?,
            Node::If(branch) | Node::With(branch) | Node::Range(branch) => {
                check_pipe(&branch.pipe)?;
                check_functions(&branch.body)?;
                branch.else_body.as_ref().map_or(Ok(()), check_functions)?;
            }
            Node::List(list) => check_functions(list)?,
            Node::Template(call) => call.pipe.as_ref().map_or(Ok(()), check_pipe)?,
            Node::Text(_) | Node::Define(_) | Node::Break(_) | Node::Continue(_) => {}
        }
    }
    Ok(())
}

fn check_pipe(pipe: &PipeNode) -> Result<(), TemplateError> {
    fn check(operand: &Expr) -> Result<(), TemplateError> {
        match operand {
            Expr::Identifier(pos, name) if !functions::exists(name) => Err(TemplateError(format!(
                "template: :{}: function {:?} not defined",
                pos.line,
                name.as_str()
            ))),
            Expr::Pipe(_, pipe) => check_pipe(pipe),
            Expr::Chain(_, inner, _) => check(inner),
            _ => Ok(()),
        }
    }
    pipe.commands.iter().flat_map(|command| &command.args).try_for_each(check)
}

/// Runs a template that is known to be right over one value (our own formats, in tests).
#[cfg(test)]
pub(crate) fn render(source: &str, data: &Value) -> Result<String, TemplateError> {
    let mut text = String::new();
    Template::parse(source)?.run(data, Missing::Fail, &mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(template: &str, expect: &str) {
        let data: Value = serde_json::from_str(
            r#"{"Name":"/web","Args":["-c","ls <a>"],"Empty":[],"Count":3,"Ports":{"80/tcp":[{"HostPort":"8080"}],"81/tcp":null},"On":true,"Nothing":null}"#,
        )
        .unwrap();
        let got = render(template, &data).unwrap_or_else(|error| error.to_string());
        assert_eq!(got, expect, "{template}");
    }

    #[test]
    fn actions() {
        check("{{.Name}} {{.Count}} {{.Args}} {{.On}} {{.Nothing}}", "/web 3 [-c ls <a>] true <no value>");
        check("{{if .On}}yes{{else}}no{{end}}{{if .Empty}}yes{{else}}no{{end}}", "yesno");
        check(
            "{{range $port, $to := .Ports}}{{$port}}={{(index $to 0).HostPort}};{{break}}{{end}}",
            "80/tcp=8080;",
        );
        check("{{range .Args}}[{{.}}]{{end}}{{range .Empty}}{{else}}none{{end}}", "[-c][ls <a>]none");
        check("{{with .Name}}{{.}}{{$.Count}}{{end}}", "/web3");
        check("{{$x := .Name}}{{$x}}{{define \"t\"}}<{{.}}>{{end}}{{template \"t\" .Count}}", "/web<3>");
        check("{{and .On .Name}} {{or .Empty .Name}} {{not .On}}", "/web /web false");
        check("{{range $i, $a := .Args}}{{if $i}},{{end}}{{$a}}{{end}}", "-c,ls <a>");
        check("{{index .Args 1}} {{index .Ports \"81/tcp\"}} {{len .Args}}", "ls <a> <no value> 2");
        check("{{- .Name -}}  x", "/webx");
    }

    #[test]
    fn functions_of_docker_and_go() {
        check(
            "{{json .Args}} {{json .Ports}}",
            r#"["-c","ls <a>"] {"80/tcp":[{"HostPort":"8080"}],"81/tcp":null}"#,
        );
        check(
            "{{join .Args \",\"}} {{upper .Name}} {{title \"ab cd\"}} {{lower \"AB\"}}",
            "-c,ls <a> /WEB Ab Cd ab",
        );
        check("{{split .Name \"e\"}} {{truncate .Name 3}} {{pad \"x\" 1 2}}|", "[/w b] /we  x  |");
        check("{{printf \"%s-%5d|%q\" .Name 7 \"x\"}}{{println 1}}{{print 1 2}}", "/web-    7|\"x\"1\n1 2");
        check("{{eq .Name \"/web\"}} {{ne 1 2}} {{lt 1 2}} {{slice \"abc\" 1 2}}", "true true true b");
        check("{{.Name | upper | printf \"<%s>\"}}", "</WEB>");
    }

    #[test]
    fn errors_are_go_s() {
        check("{{.Foo}}", r#"template: :1:2: executing "" at <.Foo>: map has no entry for key "Foo""#);
        check(
            "{{.Name.Foo}}",
            r#"template: :1:7: executing "" at <.Name.Foo>: can't evaluate field Foo in type interface {}"#,
        );
        check("{{foo}}", r#"template: :1: function "foo" not defined"#);
        check("{{.Name", "template: :1: unclosed action");
        check("{{if .On}}", "template: :1: unexpected EOF");
        check("{{end}}", "template: :1: unexpected {{end}}");
        check("{{if .On}}{{\"{{end}}\"}}{{end}}\n{{else}}", "template: :2: unexpected {{else}}");
    }
}
