//! A real registry that asks for tokens, as the public ones do, and a service that grants no more than it should.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use berth_tests::{CLIENTS, Client, Engine, run};
use serde_json::{Value, json};

use crate::debian::Registry;
use crate::server::{Request, Server, answer};

/// Anonymous clients may read `library/…`; user `u` with password `secret` may write `team/…`, too, and read all.
fn granted(is_user: bool, scope: &str) -> Option<Value> {
    let mut parts = scope.split(':');
    let (kind, name, actions) = (parts.next()?, parts.next()?, parts.next()?);
    let may = |action: &&str| match *action {
        "pull" => is_user || name.starts_with("library/"),
        "push" => is_user && !name.starts_with("library/"),
        _ => false,
    };
    let actions: Vec<&str> = actions.split(',').filter(may).collect();
    (!actions.is_empty()).then(|| json!({"type": kind, "name": name, "actions": actions}))
}

/// The service and its registry.
struct Place {
    registry: Registry,
    service: Server,
    _keys: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let keys = tempfile::tempdir().unwrap();
        let script = "cd \"$1\"; openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=tokens \
            -keyout key -out crt; openssl x509 -in crt -outform DER -out der";
        run(Command::new("sh").args(["-c", script, "sh"]).arg(keys.path())).ok();
        let dir = keys.path().to_owned();
        let service = Server::start("127.0.0.1", move |request, stream| match token(&dir, request) {
            Some(token) => {
                let body = json!({"token": token, "expires_in": 300}).to_string();
                answer(stream, "200 OK", &[("Content-Type", "application/json")], body.as_bytes());
            }
            None => {
                let body =
                    br#"{"errors":[{"code":"UNAUTHORIZED","message":"incorrect username or password"}]}"#;
                answer(stream, "401 Unauthorized", &[("Content-Type", "application/json")], body);
            }
        });
        let certificate = std::fs::read_to_string(keys.path().join("crt")).unwrap();
        let registry = Registry::with_tokens(&format!("http://{}/token", service.host), &certificate);
        Self { registry, service, _keys: keys }
    }

    /// The scopes that were asked for since the last time, sorted.
    fn scopes(&self, from: usize) -> Vec<String> {
        let mut all: Vec<_> = self.service.seen().iter().skip(from).flat_map(scopes).collect();
        all.sort();
        all.dedup();
        all
    }
}

fn scopes(request: &Request) -> Vec<String> {
    let query = request.path.split_once('?').map_or("", |(_, query)| query);
    let values = query.split('&').filter_map(|pair| pair.strip_prefix("scope="));
    values.map(|value| value.replace("%3A", ":").replace("%2F", "/").replace("%2C", ",")).collect()
}

/// A signed token for what was asked and may be had; nothing for a wrong password.
fn token(keys: &Path, request: &Request) -> Option<String> {
    let is_user = match request.headers.get("authorization") {
        None => false,
        Some(basic) if *basic == format!("Basic {}", STANDARD.encode("u:secret")) => true,
        Some(_) => return None,
    };
    let access: Vec<Value> = scopes(request).iter().filter_map(|scope| granted(is_user, scope)).collect();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let certificate = STANDARD.encode(std::fs::read(keys.join("der")).unwrap());
    let head = json!({"typ": "JWT", "alg": "RS256", "x5c": [certificate]});
    let claims = json!({
        "iss": "tokens.test", "sub": "u", "aud": "registry.test", "jti": "1", "access": access,
        "nbf": now - 10, "iat": now, "exp": now + 300,
    });
    let signed = [head, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
    let mut openssl = Command::new("openssl")
        .args(["dgst", "-sha256", "-sign"])
        .arg(keys.join("key"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    openssl.stdin.take().unwrap().write_all(signed.as_bytes()).unwrap();
    let signature = openssl.wait_with_output().unwrap().stdout;
    Some(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

fn log_in(engine: &Engine, client: Client, host: &str, password: &str) -> berth_tests::Outcome {
    run(engine.command(client, &["login", "-u", "u", "-p", password, host]).stdin(Stdio::null()))
}

#[test]
fn tokens_open_what_they_name_and_layers_are_mounted_from_where_they_may_be_read() {
    let place = Place::new();
    let host = &place.registry.host;
    let made = format!("{host}/team/made:1");
    for client in CLIENTS {
        let engine = Engine::with_images(&["busybox"]);
        engine.docker(&format!("tag busybox {made}")).ok();
        let refused = engine.run(client, &["push", &made]);
        refused.fails(1);
        let first = refused.stdout.lines().nth(1).unwrap_or_default();
        assert!(first.ends_with(": Preparing"), "{refused:?}");
        assert_eq!(refused.stderr.trim_end(), "denied: requested access to the resource is denied");
        let wrong = log_in(&engine, client, host, "wrong");
        let expect = format!(
            "Error response from daemon: Get \"http://{host}/v2/\": unauthorized: incorrect username or password"
        );
        assert!(wrong.fails(1).ends_with(&expect), "{wrong:?}");
        log_in(&engine, client, host, "secret").ok();
        engine.run(client, &["push", &made]).ok();
    }
    // Nobody else reads it.
    let other = Engine::start();
    let refused = other.docker(&format!("pull {made}"));
    assert!(refused.fails(1).contains("pull access denied for"), "{refused:?}");
    // Another repository gets the layer from the first, which takes leave to read that one.
    let engine = Engine::with_images(&["busybox"]);
    engine.docker(&format!("tag busybox {made}")).ok();
    log_in(&engine, Client::Docker, host, "secret").ok();
    engine.docker(&format!("push {made}")).ok();
    let twin = format!("{host}/team/twin:1");
    engine.docker(&format!("tag {made} {twin}")).ok();
    let before = place.service.seen().len();
    let pushed = engine.docker(&format!("push {twin}"));
    assert!(pushed.ok().contains(": Mounted from team/made\n"), "{pushed:?}");
    assert_eq!(place.scopes(before), ["repository:team/made:pull", "repository:team/twin:pull,push"]);
    log_in(&other, Client::Docker, host, "secret").ok();
    other.docker(&format!("pull -q {twin}")).ok();
}

/// Words and statuses as Docker's: a client that sees 401 asks its user for a password.
#[test]
fn who_may_not_is_told_as_docker_tells() {
    let place = Place::new();
    let closed = Registry::closed();
    let engine = Engine::start();
    let wrong = STANDARD.encode(r#"{"username":"u","password":"wrong"}"#);
    let ask = |method: &str, path: &str, login: Option<&str>, body: &str| {
        let mut curl = Command::new("curl");
        curl.args(["-s", "-w", "%{http_code}", "-X", method, "--unix-socket"]).arg(engine.socket());
        if let Some(login) = login {
            curl.args(["-H", &format!("X-Registry-Auth: {login}")]);
        }
        if !body.is_empty() {
            curl.args(["-H", "Content-Type: application/json", "-d", body]);
        }
        let said = run(curl.arg(format!("http://x/v1.45{path}"))).ok().to_owned();
        let (body, status) = said.split_at(said.len() - 3);
        let body: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{said}"));
        (status.parse::<u16>().unwrap(), body["message"].as_str().unwrap_or_default().to_owned())
    };
    let [token, basic] = [&place.registry.host, &closed.host];
    let head = |host: &str, why: &str| format!("Head \"http://{host}/v2/team/x/manifests/1\": {why}");
    let refused = "unauthorized: incorrect username or password";
    let denied = "denied: requested access to the resource is denied";
    let none = "no basic auth credentials";
    let unauthorized = "unauthorized: authentication required";
    for (host, login, status, words) in [
        (token, None, 403, format!("errors:\n{denied}\n{unauthorized}\n")),
        (token, Some(&*wrong), 500, head(token, refused)),
        (basic, None, 500, head(basic, none)),
        (basic, Some(&*wrong), 401, unauthorized.to_owned()),
    ] {
        let path = format!("/distribution/{host}/team/x:1/json");
        assert_eq!(ask("GET", &path, login, ""), (status, words), "{path} {login:?}");
    }
    // Progress comes in lines that end as Docker's do.
    let raw = run(Command::new("curl")
        .args(["-s", "-X", "POST", "--unix-socket"])
        .arg(engine.socket())
        .args(["-H", "X-Registry-Auth: e30=", &format!("http://x/v1.45/images/{token}/team/x/push?tag=1")]));
    assert_eq!(raw.stdout.matches("}\r\n").count(), 2, "{raw:?}");
    let access = format!(
        "pull access denied for {token}/team/x, repository does not exist or may require 'docker login': {denied}"
    );
    for (host, login, status, words) in [
        (token, None, 404, access),
        (token, Some(&*wrong), 500, head(token, refused)),
        (basic, None, 500, head(basic, none)),
        (basic, Some(&*wrong), 500, unauthorized.to_owned()),
    ] {
        let path = format!("/images/create?fromImage={host}/team/x&tag=1");
        assert_eq!(ask("POST", &path, login, ""), (status, words), "{path} {login:?}");
    }
    for (host, words) in [
        (token, format!("Get \"http://{token}/v2/\": {refused}")),
        (basic, format!("login attempt to http://{basic}/v2/ failed with status: 401 Unauthorized")),
    ] {
        let body = json!({"username": "u", "password": "wrong", "serveraddress": host}).to_string();
        assert_eq!(ask("POST", "/auth", None, &body), (500, words));
    }
}
