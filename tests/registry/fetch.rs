//! `import` of an archive that a URL gives.

use std::io::Write as _;

use berth_tests::{CLIENTS, Engine, images};

use crate::server::{Server, answer};

#[test]
fn an_archive_is_imported_from_a_url() {
    let archive = std::fs::read(images().join("busybox.tar")).unwrap();
    let server = Server::start("127.0.0.1", move |request, stream| match request.path.as_str() {
        "/moved" => answer(stream, "302 Found", &[("Location", "/busybox.tar")], b""),
        "/busybox.tar" => answer(stream, "200 OK", &[], &archive),
        "/cut.tar" => {
            let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", archive.len());
            let _ = stream.write_all(&archive[..archive.len() / 2]);
        }
        _ => answer(stream, "404 File not found", &[], b"<p>nothing here</p>\n"),
    });
    let engine = Engine::start();
    let host = &server.host;
    for client in CLIENTS {
        for url in [format!("http://{host}/busybox.tar"), format!("http://{host}/moved")] {
            let said = engine.run(client, &["import", "--change", "CMD [\"true\"]", &url, "web:1"]);
            let mut lines = said.ok().lines();
            assert_eq!(lines.next(), Some(format!("Downloading from {url}").as_str()), "{client:?}");
            assert!(lines.last().unwrap().starts_with("sha256:"), "{said:?}");
            engine.run(client, &["run", "--rm", "web:1"]).ok();
            engine.run(client, &["rmi", "web:1"]).ok();
        }
        let refused = |url: &str, why: &str| {
            let said = engine.run(client, &["import", url, "web:2"]);
            assert!(said.fails(1).contains(why), "{client:?}: {said:?}");
        };
        let missing = format!("http://{host}/none");
        refused(
            &missing,
            &format!("failed to GET {missing} with status 404 File not found: <p>nothing here</p>"),
        );
        refused(
            "http://127.0.0.1:1/x",
            "Get \"http://127.0.0.1:1/x\": dial tcp 127.0.0.1:1: connect: connection refused",
        );
        refused("http:///", "Get \"http:///\": http: no Host in request URL");
        refused(&format!("http://{host}/cut.tar"), "unexpected EOF");
    }
    assert_eq!(engine.docker("images -qa").ok(), "");
    // What clients take for the name of a file, the engine takes for a URL.
    let create = |source: &str| engine.http("POST", &format!("/v1.45/images/create?fromSrc={source}"), None);
    assert_eq!(create(&format!("http://{host}/none")).0, 404);
    let (status, text) = create("ftp://x/y");
    assert_eq!((status, text.contains("unsupported protocol scheme")), (500, true), "{text}");
    assert_eq!(create(&format!("{host}/busybox.tar")).0, 200);
    engine.docker("image prune -f").ok();
    engine.assert_clean();
}
