//! What a new container gets from the surroundings of the command: the user's proxies, the socket of the engine.

use berth_api::client::Host;
use berth_api::container::{CreateRequest, Mount};

use super::options::Options;
use crate::context::Context;
use crate::outcome::Failure;

/// Where programs inside look for the engine.
const SOCKET: &str = "/var/run/docker.sock";

/// Adds to the request what the user has configured for all containers.
///
/// # Errors
/// An engine that cannot be put into a container.
pub(crate) fn surround(
    context: &Context,
    options: &Options,
    request: &mut CreateRequest,
) -> Result<(), Failure> {
    let config = context.config();
    if config.proxies.is_empty() && !options.api_socket {
        return Ok(());
    }
    let host = context.host()?;
    if let Some(proxies) = config.proxies(&host.to_string()) {
        proxies.add_to(request.config.env.get_or_insert_default());
    }
    if options.api_socket {
        let Host::Unix(path) = &host else {
            return Err(Failure::new(format!(
                "flag --use-api-socket can only be used with unix sockets: docker endpoint {host} incompatible"
            )));
        };
        let mount = Mount {
            kind: "bind".to_owned(),
            source: path.display().to_string(),
            target: SOCKET.to_owned(),
            ..Mount::default()
        };
        request.host_config.mounts.get_or_insert_default().push(mount);
    }
    Ok(())
}
