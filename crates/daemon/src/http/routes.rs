//! The table of all paths of the Engine API.

use hyper::Method;

use super::router::Route;
use super::{absent, check, containers, disk_usage, events, exec, images, networks, system, volumes};

macro_rules! routes {
    ($($method:ident $before:literal $({} $after:literal)? $(=> $end:ident)? , $handler:path;)*) => {
        &[$(Route {
            method: Method::$method,
            before: $before,
            after: routes!(@after $($after)?),
            to_the_end: routes!(@end $($end)?),
            handler: |server, call| Box::pin($handler(server, call)),
        }),*]
    };
    (@after) => { None };
    (@after $after:literal) => { Some($after) };
    (@end) => { false };
    (@end finish) => { true };
}

/// All routes. A route with a fixed path stands before those whose `{}` would take it.
///
/// `=> finish`: the work comes to its end although the client is gone.
pub(crate) static ROUTES: &[Route] = routes! {
    GET "/_ping", system::ping;
    HEAD "/_ping", system::ping;
    OPTIONS "/", system::options;
    OPTIONS "/" {} "", system::options;
    GET "/version", system::version;
    GET "/info", system::info;
    GET "/events", events::events;
    POST "/berth/fsck", check::check;
    GET "/berth/manifests/" {} "", images::document::get;
    PUT "/berth/manifests/" {} "", images::document::put;
    GET "/berth/referrers/" {} "", images::document::referrers;
    GET "/berth/blobs/" {} "", images::document::blob;
    PUT "/berth/blobs/" {} "", images::document::put_blob;
    GET "/system/df", disk_usage::disk_usage;
    POST "/auth", images::registry::auth;

    GET "/containers/json", containers::list::list;
    POST "/containers/create" => finish, containers::create::create;
    POST "/containers/prune" => finish, containers::prune::prune;
    GET "/containers/" {} "/json", containers::inspect::inspect;
    GET "/containers/" {} "/top", containers::process::top;
    GET "/containers/" {} "/logs", containers::logs::logs;
    GET "/containers/" {} "/stats", containers::stats::stats;
    GET "/containers/" {} "/changes", containers::archive::changes;
    GET "/containers/" {} "/export", containers::archive::export;
    GET "/containers/" {} "/attach/ws", containers::attach::websocket;
    HEAD "/containers/" {} "/archive", containers::archive::stat;
    GET "/containers/" {} "/archive", containers::archive::get;
    PUT "/containers/" {} "/archive" => finish, containers::archive::put;
    POST "/containers/" {} "/start" => finish, containers::lifecycle::start;
    POST "/containers/" {} "/stop" => finish, containers::lifecycle::stop;
    POST "/containers/" {} "/restart" => finish, containers::lifecycle::restart;
    POST "/containers/" {} "/kill" => finish, containers::lifecycle::kill;
    POST "/containers/" {} "/pause" => finish, containers::lifecycle::pause;
    POST "/containers/" {} "/unpause" => finish, containers::lifecycle::unpause;
    POST "/containers/" {} "/rename" => finish, containers::lifecycle::rename;
    POST "/containers/" {} "/update" => finish, containers::lifecycle::update;
    POST "/containers/" {} "/wait", containers::wait::wait;
    POST "/containers/" {} "/resize", containers::process::resize;
    POST "/containers/" {} "/attach", containers::attach::attach;
    POST "/containers/" {} "/exec" => finish, exec::create;
    GET "/containers/" {} "/checkpoints", absent::checkpoint;
    POST "/containers/" {} "/checkpoints", absent::checkpoint;
    DELETE "/containers/" {} "" => finish, containers::lifecycle::remove;

    POST "/exec/" {} "/start", exec::start;
    POST "/exec/" {} "/resize", exec::resize;
    GET "/exec/" {} "/json", exec::inspect;

    GET "/images/json", images::list::list;
    GET "/images/search", images::registry::search;
    GET "/images/get", images::transfer::save_many;
    POST "/images/load", images::transfer::load;
    POST "/images/create", images::create::create;
    POST "/images/prune" => finish, images::list::prune;
    GET "/images/" {} "/get", images::transfer::save_one;
    GET "/images/" {} "/history", images::inspect::history;
    GET "/images/" {} "/json", images::inspect::inspect;
    POST "/images/" {} "/push", images::registry::push;
    POST "/images/" {} "/tag" => finish, images::list::tag;
    DELETE "/images/" {} "" => finish, images::list::remove;
    GET "/distribution/" {} "/json", images::registry::distribution;
    POST "/commit" => finish, containers::commit::commit;
    POST "/build/prune", absent::build_prune;
    POST "/build/cancel", absent::build;
    POST "/build", absent::build;
    POST "/session", absent::session;
    POST "/grpc", absent::session;

    GET "/networks/", networks::list;
    GET "/networks", networks::list;
    POST "/networks/create", absent::network_create;
    POST "/networks/prune", absent::network_prune;
    POST "/networks/" {} "/connect", absent::network_connect;
    POST "/networks/" {} "/disconnect", absent::network_connect;
    GET "/networks/" {} "", networks::inspect;
    DELETE "/networks/" {} "", networks::remove;

    GET "/volumes", volumes::list;
    POST "/volumes/create" => finish, volumes::create;
    POST "/volumes/prune" => finish, volumes::prune;
    GET "/volumes/" {} "", volumes::inspect;
    PUT "/volumes/" {} "", volumes::update;
    DELETE "/volumes/" {} "" => finish, volumes::remove;

    GET "/plugins", absent::plugins;
    GET "/plugins/privileges", absent::plugin_install;
    GET "/plugins/" {} "/json", absent::plugin;
    POST "/plugins/pull", absent::plugin_install;
    POST "/plugins/create", absent::plugin_install;
    POST "/plugins/" {} "/enable", absent::plugin;
    POST "/plugins/" {} "/disable", absent::plugin;
    POST "/plugins/" {} "/upgrade", absent::plugin;
    POST "/plugins/" {} "/push", absent::plugin;
    POST "/plugins/" {} "/set", absent::plugin;
    DELETE "/plugins/" {} "", absent::plugin;

    POST "/swarm/init", absent::swarm_init;
    POST "/swarm/join", absent::swarm_init;
    POST "/swarm/leave", absent::swarm_leave;
    POST "/swarm/update", absent::swarm;
    POST "/swarm/unlock", absent::swarm;
    GET "/swarm/unlockkey", absent::swarm;
    GET "/swarm", absent::swarm;
    GET "/services", absent::swarm;
    POST "/services/create", absent::swarm;
    GET "/services/" {} "", absent::swarm;
    POST "/services/" {} "/update", absent::swarm;
    DELETE "/services/" {} "", absent::swarm;
    GET "/nodes", absent::swarm;
    GET "/nodes/" {} "", absent::swarm;
    POST "/nodes/" {} "/update", absent::swarm;
    DELETE "/nodes/" {} "", absent::swarm;
    GET "/tasks", absent::swarm;
    GET "/tasks/" {} "", absent::swarm;
    GET "/secrets", absent::swarm;
    POST "/secrets/create", absent::swarm;
    GET "/secrets/" {} "", absent::swarm;
    POST "/secrets/" {} "/update", absent::swarm;
    DELETE "/secrets/" {} "", absent::swarm;
    GET "/configs", absent::swarm;
    POST "/configs/create", absent::swarm;
    GET "/configs/" {} "", absent::swarm;
    POST "/configs/" {} "/update", absent::swarm;
    DELETE "/configs/" {} "", absent::swarm;
};
