//! `exec`

use berth_api::exec::{CreateRequest, StartRequest};

use crate::command::{Arity, Command, Invocation};
use crate::container::attach::{End, Resized, Streams, beside};
use crate::context::Context;
use crate::flags::Flag;
use crate::outcome::{Failure, Outcome, exit_status};
use crate::terminal::{self, Forwarded};
use crate::values::environment::{self, Kind};

#[derive(Debug, Default)]
pub(crate) struct Options {
    detach: bool,
    detach_keys: String,
    env: Vec<String>,
    env_files: Vec<String>,
    interactive: bool,
    privileged: bool,
    tty: bool,
    user: String,
    workdir: String,
}

pub(crate) static COMMAND: Command<Options> = Command {
    name: "exec",
    usage: "[OPTIONS] CONTAINER COMMAND [ARG...]",
    about: "Run a command in a container that runs",
    aliases: &["container exec", "exec"],
    arity: Arity::AtLeast(2),
    flags: &[
        Flag::bool("detach", 'd', |o: &mut Options| &mut o.detach, "Leave it running in the background"),
        Flag::text(
            "detach-keys",
            '\0',
            |o: &mut Options| &mut o.detach_keys,
            "Keys that detach from the command",
        ),
        Flag::value("env", 'e', "list", add_variable, "Set a variable"),
        Flag::list("env-file", '\0', |o: &mut Options| &mut o.env_files, "Set the variables of a file"),
        Flag::bool(
            "interactive",
            'i',
            |o: &mut Options| &mut o.interactive,
            "Keep STDIN open even if not attached",
        ),
        Flag::bool(
            "privileged",
            '\0',
            |o: &mut Options| &mut o.privileged,
            "Give the command all capabilities",
        ),
        Flag::bool("tty", 't', |o: &mut Options| &mut o.tty, "Allocate a terminal"),
        Flag::text(
            "user",
            'u',
            |o: &mut Options| &mut o.user,
            "User (name or number, with or without :group)",
        ),
        Flag::text("workdir", 'w', |o: &mut Options| &mut o.workdir, "Working directory inside"),
    ],
    interspersed: false,
    run,
};

fn add_variable(options: &mut Options, value: &str) -> Result<(), String> {
    options.env.push(environment::variable(value)?);
    Ok(())
}

fn run(context: &Context, invocation: &Invocation<Options>) -> Outcome {
    let options = &invocation.options;
    let env =
        environment::with_files(&options.env_files, &options.env, Kind::Environment).map_err(Failure::new)?;
    if !options.detach {
        terminal::check_input(options.interactive, options.tty)?;
    }
    let console_size = terminal::size()
        .filter(|_| options.tty && !options.detach)
        .map(|(height, width)| [u32::from(height), u32::from(width)]);
    let request = CreateRequest {
        user: options.user.clone(),
        privileged: options.privileged,
        tty: options.tty,
        console_size,
        attach_stdin: options.interactive && !options.detach,
        attach_stdout: !options.detach,
        attach_stderr: !options.detach,
        detach_keys: context.detach_keys(&options.detach_keys),
        env: (!env.is_empty()).then_some(env),
        working_dir: options.workdir.clone(),
        cmd: Some(invocation.arguments[1..].to_vec()),
    };
    context.block_on(execute(context, options, &invocation.arguments[0], &request))
}

async fn execute(context: &Context, options: &Options, container: &str, request: &CreateRequest) -> Outcome {
    let client = context.client().await?;
    let id = client.exec_create(container, request).await?.id;
    if id.is_empty() {
        return Err(Failure::new("exec ID empty"));
    }
    let start = StartRequest { detach: options.detach, tty: options.tty, console_size: request.console_size };
    if options.detach {
        return client.exec_start(&id, &start).await.map_err(Failure::from);
    }
    let mut asked = Forwarded::hold_back()?;
    let hijacked = client.exec_attach(&id, &start).await?;
    let detach = context.detach_watcher(&options.detach_keys);
    let streams = Streams { hijacked, tty: options.tty, stdin: options.interactive, output: true, detach };
    let resize = options.tty.then_some(Resized::Exec(&id));
    let end = tokio::select! {
        biased;
        // Asked to end, we leave the command running, and as with Docker all is well then.
        _ = asked.next() => return Ok(()),
        end = beside(client, streams.run(), resize, None) => end?,
    };
    if end == End::Detached {
        return Err(Failure::new("read escape sequence"));
    }
    match client.exec_inspect(&id).await?.exit_code {
        None | Some(0) => Ok(()),
        Some(code) => Err(Failure::status(exit_status(i64::from(code)))),
    }
}
