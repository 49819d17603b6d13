//! `update`

use berth_api::container::{Resources, RestartPolicy, UpdateRequest};

use crate::command::{Arity, Command, Invocation};
use crate::context::Context;
use crate::flags::{Flag, parse_int, parse_uint};
use crate::format::units::parse_bytes;
use crate::outcome::{Failure, Outcome};
use crate::values::limits;

/// The request as it grows, and whether any flag was given.
#[derive(Debug, Default)]
pub(crate) struct Options {
    given: bool,
    resources: Resources,
    restart: String,
}

/// A limit that is a whole number.
macro_rules! number {
    ($name:literal, $short:literal, $field:ident, $help:literal) => {
        Flag::value($name, $short, "int", |o: &mut Options, v| o.set(|r| &mut r.$field, parse_int(v)), $help)
    };
}

/// A limit that is a text.
macro_rules! text {
    ($name:literal, $field:ident, $help:literal) => {
        Flag::value(
            $name,
            '\0',
            "string",
            |o: &mut Options, v| o.set(|r| &mut r.$field, Ok(v.to_owned())),
            $help,
        )
    };
}

pub(crate) static COMMAND: Command<Options> = Command {
    name: "update",
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Change the limits of containers",
    aliases: &["container update", "update"],
    arity: Arity::AtLeast(1),
    flags: &[
        Flag::value(
            "blkio-weight",
            '\0',
            "uint16",
            |o: &mut Options, v| {
                o.set(
                    |r| &mut r.blkio_weight,
                    parse_uint(v, 16).map(|n| u16::try_from(n).unwrap_or(u16::MAX)),
                )
            },
            "Share of block I/O, 10 to 1000, or 0 to turn it off",
        )
        .default("0"),
        number!("cpu-period", '\0', cpu_period, "Period of the CPU scheduler, in microseconds"),
        number!("cpu-quota", '\0', cpu_quota, "CPU time in each period, in microseconds"),
        number!("cpu-rt-period", '\0', cpu_realtime_period, "Period of real-time tasks, in microseconds"),
        number!(
            "cpu-rt-runtime",
            '\0',
            cpu_realtime_runtime,
            "Time of real-time tasks in each period, in microseconds"
        ),
        number!("cpu-shares", 'c', cpu_shares, "Share of CPU time, relative to others"),
        Flag::value(
            "cpus",
            '\0',
            "decimal",
            |o: &mut Options, v| o.set(|r| &mut r.nano_cpus, limits::cpus(v)),
            "Number of CPUs",
        ),
        text!("cpuset-cpus", cpuset_cpus, "CPUs to run on (0-3, 0,1)"),
        text!("cpuset-mems", cpuset_mems, "Memory nodes to use (0-3, 0,1)"),
        Flag::value(
            "memory",
            'm',
            "bytes",
            |o: &mut Options, v| o.set(|r| &mut r.memory, parse_bytes(v)),
            "Limit of memory",
        ),
        Flag::value(
            "memory-reservation",
            '\0',
            "bytes",
            |o: &mut Options, v| o.set(|r| &mut r.memory_reservation, parse_bytes(v)),
            "Limit of memory when it is scarce",
        ),
        Flag::value(
            "memory-swap",
            '\0',
            "bytes",
            |o: &mut Options, v| {
                o.set(|r| &mut r.memory_swap, if v == "-1" { Ok(-1) } else { parse_bytes(v) })
            },
            "Limit of memory and swap together, -1 for no limit of swap",
        ),
        Flag::value(
            "pids-limit",
            '\0',
            "int",
            |o: &mut Options, v| o.set(|r| &mut r.pids_limit, parse_int(v).map(Some)),
            "Number of processes, -1 for no limit",
        ),
        Flag::value(
            "restart",
            '\0',
            "string",
            |o: &mut Options, v| {
                o.given = true;
                v.clone_into(&mut o.restart);
                Ok(())
            },
            "When to start it again after its end",
        ),
    ],
    interspersed: true,
    run,
};

impl Options {
    fn set<V>(
        &mut self,
        field: fn(&mut Resources) -> &mut V,
        value: Result<V, String>,
    ) -> Result<(), String> {
        self.given = true;
        value.map(|value| *field(&mut self.resources) = value)
    }
}

fn run(context: &Context, invocation: &Invocation<Options>) -> Outcome {
    let options = &invocation.options;
    if !options.given {
        return Err(Failure::new("you must provide one or more flags when using this command"));
    }
    let restart_policy = if options.restart.is_empty() {
        RestartPolicy::default()
    } else {
        limits::restart(&options.restart).map_err(Failure::new)?
    };
    let request = UpdateRequest { resources: options.resources.clone(), restart_policy };
    context.block_on(async {
        let client = context.client().await?;
        let (mut warnings, mut errors) = (Vec::new(), Vec::new());
        for name in &invocation.arguments {
            match client.container_update(name, &request).await {
                Ok(answer) => {
                    context.printer.line(name)?;
                    warnings.extend(answer.warnings.unwrap_or_default());
                }
                Err(error) => errors.push(error.to_string()),
            }
        }
        if !warnings.is_empty() {
            context.printer.line(warnings.join("\n"))?;
        }
        super::many::joined(&errors)
    })
}
