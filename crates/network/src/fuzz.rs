//! The parsers of foreign bytes, for the fuzz targets of `fuzz/targets`.

use std::net::IpAddr;
use std::str::FromStr as _;

use crate::netlink::message::Reply;

/// A target's name, what mutation starts from, and the function.
pub type Row = (&'static str, &'static [&'static str], fn(&[u8]));

/// See `fuzz/targets`.
pub const TARGETS: &[Row] = &[
    (
        "netlink-reply",
        &["\u{24}\0\0\0\u{10}\0\0\0\0\0\0\0\0\0\0\0\u{14}\0\u{12}\0\u{8}\0\u{1}\0abcd\u{5}\0\u{2}\0x\0\0\0"],
        reply,
    ),
    ("addresses", &["10.0.0.1/24", "fd00::1/64", "02:42:ac:11:00:02", "other:1.2.3.4"], addresses),
];

/// Walks every attribute of every reply, two levels deep; each walk ends.
fn reply(data: &[u8]) {
    let mut rest = data;
    while let Some((reply, after)) = Reply::split(rest) {
        assert!(after.len() < rest.len(), "no progress");
        rest = after;
        for length in [0, 4, 16, 20] {
            let _ = (reply.header_u32(length), reply.header_u8(length));
            let attributes = reply.attributes(length);
            for (kind, _) in attributes {
                let _ = (attributes.string(kind), attributes.u32(kind), attributes.be32(kind));
                let _ = attributes.nested(kind).count();
            }
        }
    }
}

fn addresses(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = (crate::Subnet4::from_str(text).is_ok(), crate::Subnet6::from_str(text).is_ok());
    let _ = crate::MacAddr::from_str(text);
    drop(crate::files::parse_add_host(text, Some(IpAddr::from([10, 0, 0, 1]))));
}
