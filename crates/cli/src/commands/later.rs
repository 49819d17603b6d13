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
}

/// At the top.
pub(crate) static ALL: &[&dyn Entry] = &[
    &Later("build"),
    &Later("builder"),
    &Later("buildx"),
    &Later("checkpoint"),
    &Later("commit"),
    &Later("compose"),
    &Later("config"),
    &Later("context"),
    &Later("cp"),
    &Later("diff"),
    &Later("export"),
    &Later("login"),
    &Later("logout"),
    &Later("manifest"),
    &Later("network"),
    &Later("node"),
    &Later("plugin"),
    &Later("push"),
    &Later("search"),
    &Later("secret"),
    &Later("service"),
    &Later("stack"),
    &Later("swarm"),
    &Later("trust"),
    &Later("update"),
    &Later("volume"),
];

/// Under `container`.
pub(crate) static CONTAINER: &[&dyn Entry] =
    &[&Later("commit"), &Later("cp"), &Later("diff"), &Later("export"), &Later("update")];

/// Under `image`.
pub(crate) static IMAGE: &[&dyn Entry] = &[&Later("build"), &Later("push")];

/// Under `system`.
pub(crate) static SYSTEM: &[&dyn Entry] = &[&Later("df"), &Later("prune"), &Later("dial-stdio")];
