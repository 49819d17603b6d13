//! `info`

use berth_api::system::Info;

use crate::command::{Arity, Command, Invocation};
use crate::context::{API, Context};
use crate::flags::Flag;
use crate::format::template::{Missing, Template};
use crate::format::units::bytes_size;
use crate::format::value::Value;
use crate::outcome::{Failure, Outcome};

#[derive(Debug, Default)]
pub(crate) struct Options {
    format: String,
}

pub(crate) static COMMAND: Command<Options> = Command {
    name: "info",
    usage: "[OPTIONS]",
    about: "Show the engine and its machine",
    aliases: &["system info", "info"],
    arity: Arity::None,
    flags: &[Flag::text(
        "format",
        'f',
        |o: &mut Options| &mut o.format,
        "How to print:\n'json':             JSON\n'TEMPLATE':         a Go template",
    )],
    interspersed: true,
    run,
};

fn run(context: &Context, invocation: &Invocation<Options>) -> Outcome {
    let template = match invocation.options.format.as_str() {
        "" | "json" => None,
        text => Some(
            Template::parse(text)
                .map_err(|error| Failure { status: 64, text: format!("template parsing error: {error}") })?,
        ),
    };
    let is_plain = invocation.options.format.is_empty();
    context.block_on(async {
        let answer = match context.client().await {
            Ok(client) => client.info_raw().await.map_err(Failure::from),
            Err(failure) => Err(failure),
        };
        if is_plain {
            return plain(context, answer);
        }
        let json = with_client(context, &String::from_utf8_lossy(&answer?));
        match template {
            None => context.printer.line(json)?,
            Some(template) => {
                let data: Value =
                    serde_json::from_str(&json).map_err(|error| Failure::new(error.to_string()))?;
                let mut text = String::new();
                template
                    .run(&data, Missing::Fail, &mut text)
                    .map_err(|error| Failure::new(error.to_string()))?;
                context.printer.line(text)?;
            }
        }
        Ok(())
    })
}

/// The engine's JSON with the client's part at its end.
fn with_client(context: &Context, json: &str) -> String {
    let body = json.trim().strip_suffix('}').unwrap_or_default();
    format!(
        r#"{body},"ClientInfo":{{"Debug":{},"Version":"{}","DefaultAPIVersion":"{API}","GitCommit":"","GoVersion":"","Os":"linux","Arch":"{}","BuildTime":"","Context":{},"Plugins":[{}],"Warnings":null}}}}"#,
        context.globals.debug,
        env!("CARGO_PKG_VERSION"),
        super::version::architecture(),
        Value::text(context.context_name()).json(true),
        plugins(context).join(","),
    )
}

/// The plug-ins of the command line, as JSON.
fn plugins(context: &Context) -> Vec<String> {
    let one = |(name, about): (String, String)| {
        let [name, about] = [name, about].map(|text| Value::text(text).json(true));
        format!(r#"{{"SchemaVersion":"0.1.0","ShortDescription":{about},"Name":{name}}}"#)
    };
    crate::plugins::described(context).into_iter().map(one).collect()
}

/// Text. Without an engine the client's own part is still shown.
fn plain(context: &Context, answer: Result<Vec<u8>, Failure>) -> Outcome {
    context.printer.data(format!(
        "Client:\n Version:    {}\n Context:    {}\n Debug Mode: {}\n",
        env!("CARGO_PKG_VERSION"),
        context.context_name(),
        context.globals.debug
    ))?;
    let plugins = crate::plugins::described(context);
    if !plugins.is_empty() {
        context.printer.line(" Plugins:")?;
        for (name, about) in plugins {
            context.printer.line(format!("  {name}: {about}"))?;
        }
    }
    context.printer.line("\nServer:")?;
    let bytes = match answer {
        Ok(bytes) => bytes,
        Err(failure) => {
            context.printer.say(format!("ERROR: {}\nerrors pretty printing info", failure.text));
            return Err(Failure::status(1));
        }
    };
    let info: Info = berth_oci::json::from_slice(&bytes).map_err(|error| Failure::new(error.to_string()))?;
    let mut text = engine(&info);
    text.push_str(&machine(&info));
    text.push('\n');
    context.printer.data(text)?;
    for warning in info.warnings.iter().flatten() {
        context.printer.say(warning);
    }
    Ok(())
}

fn line(text: &mut String, name: &str, value: impl std::fmt::Display) {
    text.push_str(&format!(" {name}: {value}\n"));
}

fn engine(info: &Info) -> String {
    let mut text = String::new();
    line(&mut text, "Containers", info.containers);
    line(&mut text, " Running", info.containers_running);
    line(&mut text, " Paused", info.containers_paused);
    line(&mut text, " Stopped", info.containers_stopped);
    line(&mut text, "Images", info.images);
    for (name, value) in [("Server Version", &info.server_version), ("Storage Driver", &info.driver)] {
        if !value.is_empty() {
            line(&mut text, name, value);
        }
    }
    for [name, value] in &info.driver_status {
        line(&mut text, &format!(" {name}"), value);
    }
    for (name, value) in [
        ("Logging Driver", &info.logging_driver),
        ("Cgroup Driver", &info.cgroup_driver),
        ("Cgroup Version", &info.cgroup_version),
    ] {
        if !value.is_empty() {
            line(&mut text, name, value);
        }
    }
    text.push_str(" Plugins:\n");
    line(&mut text, " Volume", info.plugins.volume.join(" "));
    line(&mut text, " Network", info.plugins.network.join(" "));
    if let Some(authorization) = info.plugins.authorization.as_ref().filter(|list| !list.is_empty()) {
        line(&mut text, " Authorization", authorization.join(" "));
    }
    line(&mut text, " Log", info.plugins.log.join(" "));
    line(&mut text, "Swarm", &info.swarm.local_node_state);
    if !info.runtimes.is_empty() {
        line(&mut text, "Runtimes", info.runtimes.keys().cloned().collect::<Vec<_>>().join(" "));
        line(&mut text, "Default Runtime", &info.default_runtime);
    }
    line(&mut text, "Init Binary", &info.init_binary);
    line(&mut text, "containerd version", &info.containerd_commit.id);
    line(&mut text, "runc version", &info.runc_commit.id);
    line(&mut text, "init version", &info.init_commit.id);
    security(info, &mut text);
    text
}

/// `name=seccomp,profile=builtin` as a small tree.
fn security(info: &Info, text: &mut String) {
    if info.security_options.is_empty() {
        return;
    }
    text.push_str(" Security Options:\n");
    for option in &info.security_options {
        for pair in option.split(',') {
            match pair.split_once('=') {
                Some(("name", name)) => text.push_str(&format!("  {name}\n")),
                Some(("profile", value)) => text.push_str(&format!("   Profile: {value}\n")),
                Some((name, value)) => text.push_str(&format!("   {name}: {value}\n")),
                None => {}
            }
        }
    }
}

fn machine(info: &Info) -> String {
    let mut text = String::new();
    for (name, value) in [
        ("Kernel Version", &info.kernel_version),
        ("Operating System", &info.operating_system),
        ("OSType", &info.os_type),
        ("Architecture", &info.architecture),
    ] {
        if !value.is_empty() {
            line(&mut text, name, value);
        }
    }
    line(&mut text, "CPUs", info.ncpu);
    line(&mut text, "Total Memory", bytes_size(info.mem_total as f64));
    for (name, value) in [("Name", &info.name), ("ID", &info.id), ("Docker Root Dir", &info.docker_root_dir)]
    {
        if !value.is_empty() {
            line(&mut text, name, value);
        }
    }
    line(&mut text, "Debug Mode", info.debug);
    if info.debug {
        line(&mut text, " File Descriptors", info.n_fd);
        line(&mut text, " Goroutines", info.n_goroutines);
        line(&mut text, " System Time", &info.system_time);
        line(&mut text, " EventsListeners", info.n_events_listener);
    }
    for (name, value) in
        [("HTTP Proxy", &info.http_proxy), ("HTTPS Proxy", &info.https_proxy), ("No Proxy", &info.no_proxy)]
    {
        if !value.is_empty() {
            line(&mut text, name, value);
        }
    }
    if !info.labels.is_empty() {
        text.push_str(" Labels:\n");
        for label in &info.labels {
            text.push_str(&format!("  {label}\n"));
        }
    }
    line(&mut text, "Experimental", info.experimental_build);
    let registries = &info.registry_config;
    let insecure = registries.index_configs.values().filter(|index| !index.secure).map(|index| &index.name);
    let insecure: Vec<&String> = insecure.chain(&registries.insecure_registry_cidrs).collect();
    if !insecure.is_empty() {
        text.push_str(" Insecure Registries:\n");
        for registry in insecure {
            text.push_str(&format!("  {registry}\n"));
        }
    }
    let hub = registries.mirrors.iter().flatten().map(|mirror| format!("  {mirror}\n"));
    let others = registries.index_configs.iter().filter(|(_, index)| !index.official);
    let others = others
        .flat_map(|(name, index)| index.mirrors.iter().map(move |mirror| format!("  {mirror} ({name})\n")));
    let mirrors: String = hub.chain(others).collect();
    if !mirrors.is_empty() {
        text.push_str(" Registry Mirrors:\n");
        text.push_str(&mirrors);
    }
    line(&mut text, "Live Restore Enabled", info.live_restore_enabled);
    if let Some(firewall) = &info.firewall_backend {
        line(&mut text, "Firewall Backend", &firewall.driver);
    }
    text
}
