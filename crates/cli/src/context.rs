//! What every command is given: the program's name, the global flags, the printer and, when it asks, the client.

use std::cell::OnceCell;
use std::future::Future;
use std::path::PathBuf;

use berth_api::Version;
use berth_api::client::{Client, Host, Tls, TlsOptions};
use berth_oci::keys::{self, Watcher};

use crate::autostart;
use crate::config::{self, Config, Store};
use crate::outcome::{Failure, Outcome};
use crate::printer::Printer;
use crate::since::Need;

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
    /// `None`: not said.
    pub(crate) tls_verify: Option<bool>,
    pub(crate) version: bool,
}

/// The surroundings of one command.
pub(crate) struct Context {
    pub(crate) program: Program,
    pub(crate) globals: Globals,
    pub(crate) printer: Printer,
    config: OnceCell<Config>,
    client: OnceCell<Client>,
}

/// An engine, and how it is spoken to.
struct Target {
    host: Host,
    tls: Option<TlsOptions>,
}

/// The newest version of the API that we speak: that of the Docker command line whose output ours is compared with.
/// Scripts that read `inspect` and `events` find the fields that they know.
pub(crate) const API: Version = Version::new(50);

/// Where the engine listens if nobody says otherwise.
pub(crate) const DEFAULT_HOST: &str = "unix:///run/berth.sock";

/// The context that flags and environment make.
pub(crate) const DEFAULT_CONTEXT: &str = "default";

/// The API version that the user wants to be spoken.
fn env_version() -> Option<Version> {
    let version = std::env::var("DOCKER_API_VERSION").ok().filter(|text| !text.is_empty())?;
    Version::parse(version.trim_start_matches('v'))
}

fn unresolved(reason: &str) -> Failure {
    Failure::new(format!("Failed to initialize: unable to resolve docker endpoint: {reason}"))
}

impl Context {
    pub(crate) fn new(program: Program, globals: Globals) -> Self {
        Self { program, globals, printer: Printer, config: OnceCell::new(), client: OnceCell::new() }
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

    /// Checks that the API version that will be spoken has what a command line needs. The engine that we start ourselves is
    /// as new as we are; one that does not answer is left to the command to tell of.
    ///
    /// # Errors
    /// Docker's refusal, before anything is done.
    pub(crate) fn check_needs(&self, needs: &[Need]) -> Outcome {
        if needs.is_empty() || (self.is_default_host() && env_version().is_none()) {
            return Ok(());
        }
        self.block_on(async {
            let client = self.new_client()?;
            if client.settle().await.is_err() {
                return Ok(());
            }
            let version = client.version();
            let missing = needs.iter().filter(|need| version.is_before(need.minor));
            let refusals: Vec<String> =
                missing.map(|need| need.refusal(self.program.title, version)).collect();
            if refusals.is_empty() { Ok(()) } else { Err(Failure::new(refusals.join("\n"))) }
        })
    }

    /// A client that has not connected yet.
    pub(crate) fn new_client(&self) -> Result<Client, Failure> {
        let target = self.target()?;
        let mut client = Client::new(target.host, env_version()).up_to(API);
        if let Some(options) = &target.tls {
            client = client.with_tls(Tls::load(options).map_err(|error| unresolved(&error.to_string()))?);
        }
        let custom = std::env::var("DOCKER_CUSTOM_HEADERS").unwrap_or_default();
        let custom = custom.split(',').filter_map(|pair| pair.split_once('='));
        let configured = &self.config().http_headers;
        let configured = configured.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        client.with_headers(configured.chain(custom)).map_err(Failure::from)
    }

    /// What the user has configured. A file that cannot be read is said once and left alone.
    pub(crate) fn config(&self) -> &Config {
        self.config.get_or_init(|| {
            Config::read(&self.config_path()).unwrap_or_else(|reason| {
                self.printer.say(format!("WARNING: {reason}"));
                Config::default()
            })
        })
    }

    /// Where `config.json` is.
    pub(crate) fn config_path(&self) -> PathBuf {
        config::directory(&self.globals.config).join("config.json")
    }

    /// The contexts.
    pub(crate) fn contexts(&self) -> Store {
        Store::new(&config::directory(&self.globals.config))
    }

    /// The context that is in force.
    pub(crate) fn context_name(&self) -> String {
        let environment = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        if !self.globals.context.is_empty() {
            return self.globals.context.clone();
        }
        if !self.globals.hosts.is_empty() || self.host_from_environment().is_some() {
            return DEFAULT_CONTEXT.to_owned();
        }
        environment("DOCKER_CONTEXT")
            .or_else(|| Some(self.config().current_context.clone()).filter(|name| !name.is_empty()))
            .unwrap_or_else(|| DEFAULT_CONTEXT.to_owned())
    }

    /// The host that the user means.
    pub(crate) fn host(&self) -> Result<Host, Failure> {
        Ok(self.target()?.host)
    }

    /// The address of the default context, as it is written.
    pub(crate) fn default_host(&self) -> Result<String, Failure> {
        match self.globals.hosts.as_slice() {
            [] => Ok(self.host_from_environment().unwrap_or_else(|| DEFAULT_HOST.to_owned())),
            [host] => Ok(host.clone()),
            _ => Err(unresolved("Specify only one -H")),
        }
    }

    /// The engine that the user means, and how it is spoken to.
    fn target(&self) -> Result<Target, Failure> {
        if !self.globals.context.is_empty() && !self.globals.hosts.is_empty() {
            return Err(Failure::new("conflicting options: cannot specify both --host and --context"));
        }
        let name = self.context_name();
        let (text, tls) = if name == DEFAULT_CONTEXT {
            (self.default_host()?, self.tls())
        } else {
            let entry = self.contexts().get(&name).map_err(|failure| unresolved(&failure.text))?;
            let endpoint = entry.endpoint();
            (endpoint.host.clone(), self.context_tls(&name, &endpoint))
        };
        let mut host = Host::parse(&text).map_err(|error| unresolved(&error.to_string()))?;
        match &mut host {
            // The port of TLS goes without saying.
            Host::Tcp { port: port @ 2375, .. } if tls.is_some() && !text.contains(":2375") => *port = 2376,
            _ => {}
        }
        Ok(Target { host, tls })
    }

    /// TLS as flags and environment ask for it.
    fn tls(&self) -> Option<TlsOptions> {
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let globals = &self.globals;
        let verify = globals.tls_verify.unwrap_or_else(|| is_set("DOCKER_TLS_VERIFY"));
        if !(verify || globals.tls || is_set("DOCKER_TLS")) {
            return None;
        }
        let folder = match std::env::var_os("DOCKER_CERT_PATH").filter(|value| !value.is_empty()) {
            Some(folder) => PathBuf::from(folder),
            None => config::directory(&globals.config),
        };
        // What nobody has named is used where it is there.
        let file = |flag: &str, name: &str| match flag {
            "" => Some(folder.join(name)).filter(|path| path.exists()),
            flag => Some(PathBuf::from(flag)),
        };
        let ca =
            if globals.tls_ca.is_empty() { folder.join("ca.pem") } else { PathBuf::from(&globals.tls_ca) };
        Some(TlsOptions {
            ca: verify.then_some(ca),
            certificate: file(&globals.tls_certificate, "cert.pem"),
            key: file(&globals.tls_key, "key.pem"),
            skip_verify: !verify,
            server_name: None,
        })
    }

    /// TLS as a context has it.
    fn context_tls(&self, name: &str, endpoint: &config::Endpoint) -> Option<TlsOptions> {
        let folder = self.contexts().tls_path(name).join("docker");
        let [ca, certificate, key] =
            config::TLS_FILES.map(|file| Some(folder.join(file)).filter(|path| path.exists()));
        let is_used = endpoint.skip_tls_verify || ca.is_some() || certificate.is_some() || key.is_some();
        is_used.then_some(TlsOptions {
            ca,
            certificate,
            key,
            skip_verify: endpoint.skip_tls_verify,
            server_name: None,
        })
    }

    pub(crate) fn host_from_environment(&self) -> Option<String> {
        ["BERTH_HOST", "DOCKER_HOST"]
            .iter()
            .find_map(|name| std::env::var(name).ok())
            .filter(|host| !host.is_empty())
    }

    /// Whether nobody has chosen a host, so that starting an engine is ours to do.
    pub(crate) fn is_default_host(&self) -> bool {
        self.globals.hosts.is_empty()
            && self.host_from_environment().is_none()
            && self.context_name() == DEFAULT_CONTEXT
    }

    /// The keys that detach: as the command says, else as the user has configured.
    pub(crate) fn detach_keys(&self, flag: &str) -> String {
        if flag.is_empty() { self.config().detach_keys.clone() } else { flag.to_owned() }
    }

    /// Looks for these keys in what is typed; as in Docker, for its own where the engine has taken keys that are none.
    pub(crate) fn detach_watcher(&self, flag: &str) -> Watcher {
        Watcher::new(keys::parse(&self.detach_keys(flag)).unwrap_or_else(|_| keys::DEFAULT.to_vec()))
    }

    /// Why there is no connection, in the words of the program that was called.
    fn connection_failure(&self, error: &berth_api::client::Error) -> Failure {
        let text = error.to_string();
        if self.program == Program::DOCKER {
            return Failure::new(text);
        }
        Failure::new(text.replace("the Docker daemon", "the Berth engine").replace("the docker daemon", "it"))
    }

    /// What a list is printed by: the flag, ids alone where that is asked for, else what the user has configured.
    pub(crate) fn format(&self, flag: &str, quiet: bool, configured: fn(&Config) -> &String) -> String {
        match flag {
            "" | "table" if quiet => "{{.ID}}".to_owned(),
            "" => configured(self.config()).clone(),
            flag => flag.to_owned(),
        }
    }

    /// The width of the terminal, 80 if there is none.
    pub(crate) fn columns(&self) -> usize {
        match rustix::termios::tcgetwinsize(std::io::stdin()) {
            Ok(size) => usize::from(size.ws_col),
            Err(_) => 80,
        }
    }
}
