//! Commands of Docker that Berth does not have yet. Naming one is an error that says so, not an unknown command.

use crate::command::Entry;
use crate::context::Context;
use crate::outcome::{Failure, Outcome};

/// A command that is not built yet.
pub(crate) struct Later(&'static str);

impl Entry for Later {
    fn name(&self) -> &'static str {
        self.0
    }

    fn about(&self) -> &'static str {
        "Not built yet"
    }

    fn call(&self, context: &Context, path: &str, _words: &[String]) -> Outcome {
        Err(Failure::new(format!("{}: '{path}' is not built yet", context.program.name)))
    }

    fn help(&self, _context: &Context, path: &str) -> String {
        format!("'{path}' is not built yet\n")
    }

    fn is_later(&self) -> bool {
        true
    }
}

/// A command that Docker has for those who ask for experiments, refused as Docker refuses it to all others.
struct Experimental(&'static str);

impl Entry for Experimental {
    fn name(&self) -> &'static str {
        self.0
    }

    fn about(&self) -> &'static str {
        "Not built yet"
    }

    fn call(&self, context: &Context, path: &str, words: &[String]) -> Outcome {
        let known = |word: &&String| matches!(word.as_str(), "create" | "ls" | "list" | "rm" | "remove");
        let below = words.first().filter(known).map(|word| match word.as_str() {
            "ls" | "list" => " ls",
            "rm" | "remove" => " rm",
            _ => " create",
        });
        let (below, title) = (below.unwrap_or_default(), context.program.title);
        Err(Failure::new(format!(
            "{path}{below} is only supported on a {title} daemon with experimental features enabled"
        )))
    }

    fn help(&self, _context: &Context, path: &str) -> String {
        format!("'{path}' is not built yet\n")
    }

    fn is_later(&self) -> bool {
        true
    }
}

/// At the top.
pub(crate) static ALL: &[&dyn Entry] = &[
    &Later("build"),
    &Later("builder"),
    &Later("buildx"),
    &Experimental("checkpoint"),
    &Later("compose"),
    &Later("config"),
    &Later("network"),
    &Later("node"),
    &Later("plugin"),
    &Later("secret"),
    &Later("service"),
    &Later("stack"),
    &Later("swarm"),
    &Later("trust"),
];

/// Under `image`.
pub(crate) static IMAGE: &[&dyn Entry] = &[&Later("build")];
