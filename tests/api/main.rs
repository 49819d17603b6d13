//! Black-box tests of the Docker Engine API on the wire.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod archive;
mod contract;
mod drivers;
mod volumes;
mod wait;

use berth_tests::Engine;

#[test]
fn versions_are_negotiated() {
    let engine = Engine::start();
    assert_eq!(engine.http("GET", "/_ping", None), (200, "OK".to_owned()));
    let (status, version) = engine.json("GET", "/version", None);
    assert_eq!((status, &version["MinAPIVersion"], &version["Os"]), (200, &"1.24".into(), &"linux".into()));
    let newest = version["ApiVersion"].as_str().unwrap().to_owned();
    for path in ["/v1.24/version".to_owned(), format!("/v{newest}/version")] {
        assert_eq!(engine.http("GET", &path, None).0, 200, "{path}");
    }
    let (status, error) = engine.json("GET", "/v1.99/version", None);
    let wanted = format!("client version 1.99 is too new. Maximum supported API version is {newest}");
    assert_eq!((status, error["message"].as_str().unwrap()), (400, wanted.as_str()));
    let (status, error) = engine.json("GET", "/v1.10/version", None);
    assert_eq!(status, 400);
    assert!(error["message"].as_str().unwrap().contains("client version 1.10 is too old"), "{error}");
    let (status, error) = engine.json("GET", "/no/such/path", None);
    assert_eq!((status, &error["message"]), (404, &"page not found".into()));
}

#[test]
fn errors_have_dockers_texts() {
    let engine = Engine::with_images(&["busybox"]);
    let text = |method: &str, path: &str, body: Option<&str>| {
        let (status, error) = engine.json(method, path, body);
        (status, error["message"].as_str().unwrap_or_default().to_owned())
    };
    let missing = (404, "No such container: nobody".to_owned());
    assert_eq!(text("GET", "/containers/nobody/json", None), missing);
    assert_eq!(text("POST", "/containers/nobody/start", None), missing);
    let only = (400, "checkpoint is only supported in experimental mode".to_owned());
    assert_eq!(text("POST", "/containers/nobody/start?checkpoint=x", None), only);
    for (method, path) in [("GET", ""), ("POST", ""), ("DELETE", "/x")] {
        let (status, said) = text(method, &format!("/containers/nobody/checkpoints{path}"), None);
        assert!(
            status == 501 && said.starts_with("This experimental feature is disabled by default."),
            "{said}"
        );
    }
    assert_eq!(text("DELETE", "/containers/nobody", None), missing);
    let (status, message) = text("POST", "/containers/create", Some(r#"{"Image":"nothing-here"}"#));
    assert_eq!((status, message.as_str()), (404, "No such image: nothing-here:latest"));
    let (status, message) = text("POST", "/containers/create", Some("{"));
    assert_eq!(status, 400, "{message}");
    let body = Some(r#"{"Image":"busybox","HostConfig":{"Memory":1000}}"#);
    let (status, message) = text("POST", "/containers/create", body);
    assert_eq!((status, message.as_str()), (400, "Minimum memory limit allowed is 6MB"));
    let (status, message) = text("POST", "/containers/create?name=a%20b", Some(r#"{"Image":"busybox"}"#));
    assert_eq!(status, 400);
    assert!(message.starts_with("Invalid container name (a b)"), "{message}");
    let name = "/containers/create?name=twice";
    assert_eq!(engine.json("POST", name, Some(r#"{"Image":"busybox"}"#)).0, 201);
    let (status, message) = text("POST", name, Some(r#"{"Image":"busybox"}"#));
    assert_eq!(status, 409);
    assert!(message.starts_with("Conflict. The container name \"/twice\" is already in use"), "{message}");
}

#[test]
fn what_is_not_built_yet_says_so() {
    let engine = Engine::start();
    let (status, error) = engine.json("POST", "/build", None);
    assert_eq!(status, 501);
    assert!(error["message"].as_str().unwrap().contains("not built yet"), "{error}");
}
