//! `port`

use berth_api::container::{PortBinding, PortMap};

use crate::command::{Arity, Command, Invocation};
use crate::context::Context;
use crate::outcome::{Failure, Outcome};
use crate::values::ports::PortRange;

pub(crate) static COMMAND: Command<()> = Command {
    name: "port",
    usage: "CONTAINER [PRIVATE_PORT[/PROTO]]",
    about: "Show where a container's ports are published",
    aliases: &["container port", "port"],
    arity: Arity::Between(1, 2),
    flags: &[],
    interspersed: true,
    run,
};

fn run(context: &Context, invocation: &Invocation<()>) -> Outcome {
    context.block_on(async {
        let client = context.client().await?;
        let name = &invocation.arguments[0];
        let ports = client.container_inspect(name).await?.network_settings.ports;
        match invocation.arguments.get(1) {
            Some(port) => {
                check_port(port)?;
                let lines = of_port(&ports, port).ok_or_else(|| {
                    Failure::new(format!("Error: No public port '{port}' published for {name}"))
                })?;
                context.printer.data(lines)?;
            }
            None => context.printer.data(all(&ports))?,
        }
        Ok(())
    })
}

/// Refuses what is no number of a port.
fn check_port(port: &str) -> Result<(), Failure> {
    let number = port.split('/').next().unwrap_or_default();
    PortRange::parse(number)
        .map(|_| ())
        .map_err(|error| Failure::new(format!("Error: invalid port ({port}): {error}")))
}

/// The bindings of one port; `None` if there are none.
fn of_port(ports: &PortMap, port: &str) -> Option<String> {
    let key = if port.contains('/') { port.to_owned() } else { format!("{port}/tcp") };
    let bindings = ports.get(&key)?.as_ref()?;
    Some(bindings.iter().map(|binding| format!("{}\n", address(binding))).collect())
}

fn all(ports: &PortMap) -> String {
    let number =
        |port: &str| port.split('/').next().and_then(|number| number.parse::<u16>().ok()).unwrap_or_default();
    let mut ports: Vec<_> = ports.iter().collect();
    ports.sort_by_key(|(port, _)| (number(port), (*port).clone()));
    let lines = ports.into_iter().flat_map(|(port, bindings)| {
        bindings.iter().flatten().map(move |binding| format!("{port} -> {}\n", address(binding)))
    });
    lines.collect()
}

fn address(binding: &PortBinding) -> String {
    if binding.host_ip.contains(':') {
        format!("[{}]:{}", binding.host_ip, binding.host_port)
    } else {
        format!("{}:{}", binding.host_ip, binding.host_port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_sorted_by_number() {
        let binding =
            |ip: &str, port: &str| PortBinding { host_ip: ip.to_owned(), host_port: port.to_owned() };
        let ports: PortMap = [
            ("443/tcp".to_owned(), Some(vec![binding("0.0.0.0", "8443"), binding("::", "8443")])),
            ("80/tcp".to_owned(), Some(vec![binding("127.0.0.1", "8080")])),
            ("81/tcp".to_owned(), None),
        ]
        .into();
        assert_eq!(all(&ports), "80/tcp -> 127.0.0.1:8080\n443/tcp -> 0.0.0.0:8443\n443/tcp -> [::]:8443\n");
        assert_eq!(of_port(&ports, "80").unwrap(), "127.0.0.1:8080\n");
        assert_eq!(of_port(&ports, "81"), None);
    }
}
