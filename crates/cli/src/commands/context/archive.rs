//! `context export` and `context import`

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{IsTerminal, Read, Write};

use berth_oci::json::Node;
use tar::{Archive, Builder, EntryType, Header};

use super::{DEFAULT_DESCRIPTION, described};
use crate::command::{Arity, Command, Invocation};
use crate::config::{Entry, check_name};
use crate::context::{Context, DEFAULT_CONTEXT};
use crate::outcome::{Failure, Outcome, io_text, open_text};

/// More than this is no context.
const LARGEST: u64 = 10 << 20;

pub(super) static EXPORT: Command<()> = Command {
    name: "export",
    usage: "[OPTIONS] CONTEXT [FILE|-]",
    about: "Write a context to an archive, or to standard output",
    aliases: &[],
    arity: Arity::Between(1, 2),
    flags: &[],
    interspersed: true,
    run: export,
};

pub(super) static IMPORT: Command<()> = Command {
    name: "import",
    usage: "CONTEXT FILE|-",
    about: "Take in a context from an archive",
    aliases: &[],
    arity: Arity::Exactly(2),
    flags: &[],
    interspersed: true,
    run: import,
};

fn export(context: &Context, invocation: &Invocation<()>) -> Outcome {
    let name = &invocation.arguments[0];
    let entry = if name == DEFAULT_CONTEXT {
        Entry::new(name, DEFAULT_DESCRIPTION, &described(context, name)?.1)
    } else {
        context.contexts().get(name)?
    };
    let bytes = pack(&entry, &context.contexts().tls(name)).map_err(|error| Failure::new(io_text(&error)))?;
    let path = invocation.arguments.get(1).cloned().unwrap_or_else(|| format!("{name}.dockercontext"));
    if path == "-" {
        if std::io::stdout().is_terminal() {
            return Err(Failure::new("cowardly refusing to export to a terminal, specify a file path"));
        }
        context.printer.data(bytes)?;
        return Ok(());
    }
    let written = File::create_new(&path).and_then(|mut file| file.write_all(&bytes));
    written.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => Failure::new(format!("open {path}: file exists")),
        _ => Failure::new(open_text(&path, &error)),
    })?;
    context.printer.say(format!("Written file \"{path}\""));
    Ok(())
}

fn pack(entry: &Entry, tls: &BTreeMap<String, Vec<u8>>) -> std::io::Result<Vec<u8>> {
    let mut builder = Builder::new(Vec::new());
    let meta = berth_oci::json::to_vec(&entry.meta)?;
    builder.append_data(&mut header(EntryType::Regular, 0o644, meta.len()), "meta.json", meta.as_slice())?;
    builder.append_data(&mut header(EntryType::Directory, 0o700, 0), "tls", std::io::empty())?;
    if !tls.is_empty() {
        builder.append_data(&mut header(EntryType::Directory, 0o700, 0), "tls/docker", std::io::empty())?;
    }
    for (name, bytes) in tls {
        let mut header = header(EntryType::Regular, 0o600, bytes.len());
        builder.append_data(&mut header, format!("tls/docker/{name}"), bytes.as_slice())?;
    }
    builder.into_inner()
}

fn header(kind: EntryType, mode: u32, size: usize) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size as u64);
    header
}

fn import(context: &Context, invocation: &Invocation<()>) -> Outcome {
    let [name, path] = [&invocation.arguments[0], &invocation.arguments[1]];
    let store = context.contexts();
    check_name(name)?;
    if store.has(name) {
        return Err(Failure::new(format!("context \"{name}\" already exists")));
    }
    let source: Box<dyn Read> = if path == "-" {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(File::open(path).map_err(|error| Failure::new(open_text(path, &error)))?)
    };
    let (meta, tls) = unpack(source.take(LARGEST)).map_err(Failure::new)?;
    let mut entry = Entry { name: name.clone(), meta };
    entry.meta.set("Name", Node::string(name));
    store.put(&entry, Some(&tls))?;
    context.printer.line(name)?;
    context.printer.say(format!("Successfully imported context \"{name}\""));
    Ok(())
}

/// The metadata and the TLS files of an archive. Names are looked at, never used as paths.
fn unpack(source: impl Read) -> Result<(Node, BTreeMap<String, Vec<u8>>), String> {
    let failed = |error: std::io::Error| format!("the archive cannot be read: {}", io_text(&error));
    let (mut meta, mut tls) = (None, BTreeMap::new());
    for entry in Archive::new(source).entries().map_err(failed)? {
        let mut entry = entry.map_err(failed)?;
        if entry.header().entry_type() != EntryType::Regular {
            continue;
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(failed)?;
        match name.split('/').collect::<Vec<_>>().as_slice() {
            ["meta.json"] => meta = Some(Node::parse(&bytes).map_err(|error| format!("meta.json: {error}"))?),
            ["tls", "docker", file] if !matches!(*file, "" | "." | "..") => {
                tls.insert((*file).to_owned(), bytes);
            }
            _ => return Err(format!("unexpected context file: {name}")),
        }
    }
    let meta = meta.ok_or("invalid context: no metadata found")?;
    Ok((meta, tls))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Endpoint;

    #[test]
    fn what_was_exported_is_imported() {
        let entry = Entry::new("far", "a", &Endpoint { host: "tcp://h:1".into(), ..Endpoint::default() });
        let tls = [("ca.pem".to_owned(), b"x".to_vec())].into();
        let bytes = pack(&entry, &tls).unwrap();
        assert_eq!(unpack(bytes.as_slice()).unwrap(), (entry.meta, tls));
        assert_eq!(unpack(&b""[..]).unwrap_err(), "invalid context: no metadata found");
    }

    #[test]
    fn strange_files_are_refused() {
        let mut builder = Builder::new(Vec::new());
        builder
            .append_data(&mut header(EntryType::Regular, 0o600, 0), "tls/other/x", std::io::empty())
            .unwrap();
        let bytes = builder.into_inner().unwrap();
        assert_eq!(unpack(bytes.as_slice()).unwrap_err(), "unexpected context file: tls/other/x");
    }
}
