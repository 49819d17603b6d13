//! `POST /containers/create`

use std::sync::Arc;

use berth_api::container::{CreateRequest, CreateResponse};
use berth_api::older;
use berth_engine::CreateContainer;
use berth_oci::json::{self, Node};
use hyper::StatusCode;

use super::super::answer::Answer;
use super::super::call::Call;
use super::super::error::Error;
use super::super::server::Server;

pub(crate) async fn create(server: Arc<Server>, mut call: Call) -> Result<Answer, Error> {
    let body: Node = call.json().await?;
    if !says_anything(&body) {
        return Err(Error::invalid("config cannot be empty in order to create a container"));
    }
    let mut request: CreateRequest = read(&body)?;
    let mac = match body.get("MacAddress") {
        Some(Node::String(mac)) => Some(mac.as_str()),
        None | Some(Node::Null) => None,
        Some(other) => {
            let place = "Go struct field ContainerConfigWrapper.Config.MacAddress of type string";
            let kind = other.kind();
            return Err(Error::invalid(format!("invalid JSON: json: cannot unmarshal {kind} into {place}")));
        }
    };
    let mut warnings = older::create(&mut request, call.version, mac).map_err(Error::invalid)?;
    let created = server
        .engine
        .container_create(CreateContainer {
            name: call.query.some("name").map(str::to_owned),
            config: request.config,
            host_config: request.host_config,
            networking: request.networking_config,
            platform: call.query.some("platform").filter(|_| !call.version.is_before(41)).map(str::to_owned),
        })
        .await?;
    warnings.extend(created.warnings);
    Answer::json_with(StatusCode::CREATED, &CreateResponse { id: created.id, warnings })
}

/// Docker takes a body that sets no field of the configuration for none at all.
fn says_anything(body: &Node) -> bool {
    let Node::Object(entries) = body else { return *body != Node::Null };
    let beside =
        |key: &str| key.eq_ignore_ascii_case("HostConfig") || key.eq_ignore_ascii_case("NetworkingConfig");
    entries.iter().any(|(key, value)| !beside(key) && *value != Node::Null)
}

/// Reads the body by Go's rules.
fn read(body: &Node) -> Result<CreateRequest, Error> {
    use serde::Deserialize as _;
    CreateRequest::deserialize(body).map_err(|error: json::Error| error.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_without_configuration_is_empty() {
        let says = |text: &str| says_anything(&Node::parse(text.as_bytes()).unwrap());
        assert!(!says("null"));
        assert!(!says("{}"));
        assert!(!says(r#"{"HostConfig":{"Memory":5}}"#));
        assert!(says(r#"{"image":"a"}"#));
        // What is no object is for the reader to refuse.
        assert!(says("[]"));
    }

    #[test]
    fn bodies_are_read_whatever_the_case_of_their_keys() {
        let text = br#"{"image":"a","CMD":"ls","hostconfig":{"memory":5},"networkingconfig":{"endpointsconfig":{"x":null}}}"#;
        let request = read(&Node::parse(text).unwrap()).unwrap();
        assert_eq!(request.config.image, "a");
        assert_eq!(request.config.cmd, Some(vec!["ls".to_owned()]));
        assert_eq!(request.host_config.resources.memory, 5);
        assert_eq!(request.networking_config.endpoints_config.unwrap().get("x"), Some(&None));
    }

    #[test]
    fn a_body_of_another_type_is_refused_with_docker_s_text() {
        let error = read(&Node::parse(b"[]").unwrap()).unwrap_err();
        assert_eq!(error.status, StatusCode::BAD_REQUEST);
        assert!(
            error.message.starts_with("invalid JSON: json: cannot unmarshal array into Go value"),
            "{error}"
        );
    }
}
