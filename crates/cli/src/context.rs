//! What every command is given: the program's name, the global flags, the printer and, when it asks, the client.

use std::cell::OnceCell;
use std::future::Future;

use berth_api::Version;
use berth_api::client::{Client, Host};

use crate::autostart;
use crate::outcome::Failure;
use crate::printer::Printer;

/// Under which name we were called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Program {
    /// As the user types it.
    pub(crate) name: &'static str,
    /// As a sentence names it.
    pub(crate) title: &'static str,
}

impl Program {
    pub(crate) const BERTH: Self = Self { name: "berth", title: "Berth" };
    pub(crate) const DOCKER: Self = Self { name: "docker", title: "Docker" };
}

/// The flags before the command.
#[derive(Debug, Default)]
pub(crate) struct Globals {
    pub(crate) config: String,
    pub(crate) context: String,
    pub(crate) debug: bool,
    pub(crate) hosts: Vec<String>,
    pub(crate) log_level: String,
    pub(crate) tls: bool,
    pub(crate) tls_ca: String,
    pub(crate) tls_certificate: String,
    pub(crate) tls_key: String,
    pub(crate) tls_verify: bool,
    pub(crate) version: bool,
}

/// The surroundings of one command.
pub(crate) struct Context {
    pub(crate) program: Program,
    pub(crate) globals: Globals,
    pub(crate) printer: Printer,
    client: OnceCell<Client>,
}

/// The newest version of the API that we speak: that of the Docker command line whose output ours is compared with.
/// Scripts that read `inspect` and `events` find the fields that they know.
pub(crate) const API: Version = Version::new(50);

/// Where the engine listens if nobody says otherwise.
pub(crate) const DEFAULT_HOST: &str = "unix:///run/berth.sock";

impl Context {
    pub(crate) fn new(program: Program, globals: Globals) -> Self {
        Self { program, globals, printer: Printer, client: OnceCell::new() }
    }

    /// Runs asynchronous work on this thread. The runtime is made here, so that help and wrong flags do without one.
    pub(crate) fn block_on<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let result = runtime.block_on(work);
        // A read from the terminal may still be under way in a thread; nobody waits for it.
        runtime.shutdown_background();
        result
    }

    /// The client of the engine. It is connected: if there is no engine at the default host, one has been started.
    pub(crate) async fn client(&self) -> Result<&Client, Failure> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = self.new_client()?;
        if let Err(error) = client.connect().await {
            if !(error.is_connect() && self.is_default_host() && autostart::may_start()) {
                return Err(self.connection_failure(&error));
            }
            autostart::start(&client).await.map_err(|reason| {
                let mut failure = self.connection_failure(&error);
                failure.text.push_str(&format!("\n{reason}"));
                failure
            })?;
        }
        Ok(self.client.get_or_init(|| client))
    }

    /// A client that has not connected yet.
    pub(crate) fn new_client(&self) -> Result<Client, Failure> {
        let host = self.host()?;
        let version = std::env::var("DOCKER_API_VERSION").ok().filter(|text| !text.is_empty());
        let version = version.and_then(|text| Version::parse(text.trim_start_matches('v')));
        Ok(Client::new(host, version).up_to(API))
    }

    /// The host that the user means.
    pub(crate) fn host(&self) -> Result<Host, Failure> {
        let failed = |reason: String| {
            Failure::new(format!("Failed to initialize: unable to resolve docker endpoint: {reason}"))
        };
        let globals = &self.globals;
        if globals.tls
            || globals.tls_verify
            || std::env::var_os("DOCKER_TLS_VERIFY").is_some_and(|on| !on.is_empty())
        {
            return Err(failed("TLS is not built yet".to_owned()));
        }
        if !globals.context.is_empty() && globals.context != "default" {
            if !globals.hosts.is_empty() {
                return Err(Failure::new(
                    "Failed to initialize: conflicting options: cannot specify both --host and --context",
                ));
            }
            return Err(failed(format!("context {:?}: contexts are not built yet", globals.context)));
        }
        let host = match globals.hosts.as_slice() {
            [] => self.host_from_environment().unwrap_or_else(|| DEFAULT_HOST.to_owned()),
            [host] => host.clone(),
            _ => return Err(failed("Specify only one -H".to_owned())),
        };
        Host::parse(&host).map_err(|error| failed(error.to_string()))
    }

    fn host_from_environment(&self) -> Option<String> {
        ["BERTH_HOST", "DOCKER_HOST"]
            .iter()
            .find_map(|name| std::env::var(name).ok())
            .filter(|host| !host.is_empty())
    }

    /// Whether nobody has chosen a host, so that starting an engine is ours to do.
    fn is_default_host(&self) -> bool {
        self.globals.hosts.is_empty() && self.host_from_environment().is_none()
    }

    /// Why there is no connection, in the words of the program that was called.
    fn connection_failure(&self, error: &berth_api::client::Error) -> Failure {
        let text = error.to_string();
        if self.program == Program::DOCKER {
            return Failure::new(text);
        }
        Failure::new(text.replace("the Docker daemon", "the Berth engine").replace("the docker daemon", "it"))
    }

    /// The width of the terminal, 80 if there is none.
    pub(crate) fn columns(&self) -> usize {
        match rustix::termios::tcgetwinsize(std::io::stdin()) {
            Ok(size) => usize::from(size.ws_col),
            Err(_) => 80,
        }
    }
}
