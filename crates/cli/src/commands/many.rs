//! The same call for many things at once: stop, kill, rm, pause.

use std::future::Future;

use futures_util::StreamExt;
use futures_util::stream;

use crate::context::Context;
use crate::outcome::{Failure, Outcome};

/// As many calls at a time as Docker makes.
const AT_ONCE: usize = 50;

/// Calls `call` for each name, prints the names that went well in order, then all that went wrong.
pub(super) async fn each<'a, F: Future<Output = Result<(), Failure>>>(
    context: &Context,
    names: &'a [String],
    call: impl Fn(&'a str) -> F,
) -> Outcome {
    let mut errors = Vec::new();
    let call = &call;
    let mut results =
        stream::iter(names).map(|name| async move { (name, call(name).await) }).buffered(AT_ONCE);
    while let Some((name, result)) = results.next().await {
        match result {
            Ok(()) => context.printer.line(name)?,
            Err(failure) if failure.text.is_empty() => {}
            Err(failure) => errors.push(failure.text),
        }
    }
    joined(&errors)
}

/// The messages as one failure; success if there are none.
pub(super) fn joined(errors: &[String]) -> Outcome {
    if errors.is_empty() { Ok(()) } else { Err(Failure::new(errors.join("\n"))) }
}
