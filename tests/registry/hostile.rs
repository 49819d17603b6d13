//! Layers that would fill the disk or leave their directory, as a registry serves them.

use std::fs;

use berth_tests::Engine;
use berth_tests::hostile::{self, HOSTILE};

use crate::lies::{Image, digest, refused};
use crate::server::Server;

#[test]
fn hostile_layers_are_refused_and_leave_nothing() {
    let engine = Engine::start();
    hostile::layers(&engine.dir);
    for (name, why) in HOSTILE {
        // Nobody can say what a bomb unpacks to; it is not asked for before it is refused.
        let image = Image::of(fs::read(engine.dir.join(format!("{name}.tar.gz"))).unwrap(), &digest(b""));
        let server = Server::start("127.0.0.1", move |request, stream| image.serve(request, stream));
        refused(&engine, &server, why);
    }
    assert_eq!(engine.http("GET", "/_ping", None).0, 200);
}
