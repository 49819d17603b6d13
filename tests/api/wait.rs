//! Waiting for containers that are gone already.

use berth_tests::{Engine, until};
use serde_json::json;

/// dockerode's `run` starts a container and asks to wait for it afterwards.
#[test]
fn who_asks_late_for_a_container_that_removed_itself_gets_its_code() {
    let engine = Engine::with_images(&["busybox"]);
    let create = |host: serde_json::Value| {
        let body = json!({ "Image": "busybox", "Cmd": ["sh", "-c", "exit 3"], "HostConfig": host });
        let (status, made) = engine.json("POST", "/v1.45/containers/create", Some(&body.to_string()));
        assert_eq!(status, 201, "{made}");
        made["Id"].as_str().unwrap().to_owned()
    };
    let wait = |id: &str, condition: &str| {
        engine.json("POST", &format!("/v1.45/containers/{id}/wait?condition={condition}"), None)
    };
    let id = create(json!({ "AutoRemove": true }));
    assert_eq!(engine.http("POST", &format!("/v1.45/containers/{id}/start"), None).0, 204);
    until("it is gone", 10, || engine.http("GET", &format!("/v1.45/containers/{id}/json"), None).0 == 404);
    for condition in ["", "not-running", "removed"] {
        assert_eq!(wait(&id, condition), (200, json!({ "StatusCode": 3 })), "{condition}");
    }
    // It will not end again, part of an id is no id, and it is gone for everything else.
    assert_eq!(wait(&id, "next-exit").0, 404);
    assert_eq!(wait(&id[..12], "").0, 404);
    assert_eq!(engine.http("POST", &format!("/v1.45/containers/{id}/start"), None).0, 404);

    // Who removes a container himself knows that it is gone.
    let id = create(json!({}));
    assert_eq!(engine.http("DELETE", &format!("/v1.45/containers/{id}"), None).0, 204);
    assert_eq!(wait(&id, "").0, 404);
}
