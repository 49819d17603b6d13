//! `login` and `logout`

use std::io::{BufRead as _, IsTerminal as _, Read as _, Write as _};

use berth_api::client::Query;
use berth_api::registry::{AuthConfig, AuthResponse};
use rustix::termios::{LocalModes, OptionalActions};

use crate::command::{Arity, Command, Invocation};
use crate::config::credentials::{self, Place};
use crate::context::Context;
use crate::flags::Flag;
use crate::outcome::{Failure, Outcome};

#[derive(Debug, Default)]
pub(crate) struct Options {
    user: String,
    password: String,
    from_stdin: bool,
    plain: bool,
}

pub(crate) static COMMAND: Command<Options> = Command {
    name: "login",
    usage: "[OPTIONS] [SERVER]",
    about: "Log in to a registry",
    aliases: &[],
    arity: Arity::AtMost(1),
    flags: &[
        Flag::text("password", 'p', |o: &mut Options| &mut o.password, "Password or access token"),
        Flag::bool(
            "password-stdin",
            '\0',
            |o: &mut Options| &mut o.from_stdin,
            "Take the password from standard input",
        ),
        Flag::bool(
            "plain-text",
            '\0',
            |o: &mut Options| &mut o.plain,
            "Keep the password unencrypted in config.json, as Docker does",
        ),
        Flag::text("username", 'u', |o: &mut Options| &mut o.user, "User"),
    ],
    interspersed: true,
    run,
};

pub(crate) static LOGOUT: Command<()> = Command {
    name: "logout",
    usage: "[SERVER]",
    about: "Log out of a registry",
    aliases: &[],
    arity: Arity::AtMost(1),
    flags: &[],
    interspersed: true,
    run: logout,
};

fn run(context: &Context, invocation: &Invocation<Options>) -> Outcome {
    let options = &invocation.options;
    let server = invocation.arguments.first().map_or("", String::as_str);
    if options.from_stdin && !options.password.is_empty() {
        return Err(Failure::new("conflicting options: cannot specify both --password and --password-stdin"));
    }
    if options.from_stdin && options.user.is_empty() {
        return Err(Failure::new("the --password-stdin option requires --username to be set"));
    }
    if !options.password.is_empty() {
        context.printer.say("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
    }
    let key = credentials::key(server);
    let path = context.config_path();
    let mut auth = AuthConfig { server_address: key.clone(), ..AuthConfig::default() };
    let known = credentials::get(&path, server)?;
    let by_hand = !options.user.is_empty() || !options.password.is_empty() || options.from_stdin;
    if let Some(known) = known.filter(|_| !by_hand) {
        context
            .printer
            .line(format!("Authenticating with existing credentials... [Username: {}]", known.username))?;
        if let Ok(answer) = ask(context, &known) {
            return keep(context, known, answer, options.plain);
        }
    }
    auth.username =
        if options.user.is_empty() { prompt(context, "Username: ", true)? } else { options.user.clone() };
    if auth.username.is_empty() {
        return Err(Failure::new("Error: Non-null Username Required"));
    }
    auth.password = if options.from_stdin {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        let line = text.strip_suffix('\n').unwrap_or(&text);
        line.strip_suffix('\r').unwrap_or(line).to_owned()
    } else if options.password.is_empty() {
        prompt(context, "Password: ", false)?
    } else {
        options.password.clone()
    };
    if auth.password.is_empty() {
        return Err(Failure::new("Error: Password Required"));
    }
    let answer = ask(context, &auth)?;
    keep(context, auth, answer, options.plain)
}

fn ask(context: &Context, auth: &AuthConfig) -> Result<AuthResponse, Failure> {
    context.block_on(async {
        let client = context.client().await?;
        Ok(client.post("/auth", &Query::new(), Some(auth)).await?)
    })
}

fn keep(context: &Context, mut auth: AuthConfig, answer: AuthResponse, plain: bool) -> Outcome {
    if !answer.identity_token.is_empty() {
        auth.password.clear();
        auth.identity_token = answer.identity_token;
    }
    let path = context.config_path();
    match credentials::store(&path, &auth, plain)? {
        Place::Plain => context.printer.say(format!(
            "\nWARNING! Your credentials are stored unencrypted in '{}'.\nConfigure a credential helper to remove this \
             warning. See\nhttps://docs.docker.com/go/credential-store/\n",
            path.display()
        )),
        Place::Vault if !credentials::has_our_helper() => context.printer.say(
            "Note: the real 'docker' finds these credentials by the helper docker-credential-berth, which is not in the \
             PATH:\nlink it to this program, or use --plain-text.",
        ),
        Place::Vault | Place::Helper => {}
    }
    context.printer.line(answer.status)?;
    Ok(())
}

/// Asks the user; what is secret is not shown.
fn prompt(context: &Context, text: &str, shown: bool) -> Result<String, Failure> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Failure::new("Error: Cannot perform an interactive login from a non TTY device"));
    }
    context.printer.data(text)?;
    let before = rustix::termios::tcgetattr(&stdin).map_err(std::io::Error::from)?;
    if !shown {
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        rustix::termios::tcsetattr(&stdin, OptionalActions::Now, &silent).map_err(std::io::Error::from)?;
    }
    let mut line = String::new();
    let read = stdin.lock().read_line(&mut line);
    if !shown {
        rustix::termios::tcsetattr(&stdin, OptionalActions::Now, &before).map_err(std::io::Error::from)?;
        std::io::stdout().write_all(b"\n")?;
    }
    read?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

fn logout(context: &Context, invocation: &Invocation<()>) -> Outcome {
    let server = invocation.arguments.first().map_or("", String::as_str);
    let key = credentials::key(server);
    context.printer.line(format!("Removing login credentials for {key}"))?;
    credentials::erase(&context.config_path(), server).map(drop)
}
