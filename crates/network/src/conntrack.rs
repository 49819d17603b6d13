//! Forgets tracked connections that would be led to where nobody is any more.
//!
//! Source: `include/uapi/linux/netfilter/nfnetlink_conntrack.h`.

use std::net::IpAddr;

use crate::netlink::{Messages, Socket, consts::*};

const IPCTNL_MSG_CT_DELETE: u16 = 2;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_FILTER: u16 = 25;
const CTA_FILTER_ORIG_FLAGS: u16 = 1;
const CTA_FILTER_REPLY_FLAGS: u16 = 2;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_DST_PORT: u16 = 3;
const FILTER_IP_SRC: u32 = 1;
const FILTER_PROTO_NUM: u32 = 1 << 3;
const FILTER_PROTO_DST_PORT: u32 = 1 << 5;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const UDP: u8 = 17;

/// Forgets connections that are led to a container.
pub(crate) fn forget_container(socket: &mut Socket, address: IpAddr) {
    let family = if address.is_ipv4() { AF_INET } else { AF_INET6 };
    delete(socket, family, |message| {
        message
            .nested(CTA_TUPLE_REPLY, |tuple| {
                tuple.nested(CTA_TUPLE_IP, |ip| {
                    match address {
                        IpAddr::V4(address) => ip.attr(CTA_IP_V4_SRC, &address.octets()),
                        IpAddr::V6(address) => ip.attr(CTA_IP_V6_SRC, &address.octets()),
                    };
                });
            })
            .nested(CTA_FILTER, |filter| {
                filter.u32(CTA_FILTER_ORIG_FLAGS, 0).u32(CTA_FILTER_REPLY_FLAGS, FILTER_IP_SRC);
            });
    });
}

/// Forgets UDP flows to a port: a client that goes on sending would never meet a new rule.
pub(crate) fn forget_udp_port(socket: &mut Socket, port: u16) {
    for family in [AF_INET, AF_INET6] {
        delete(socket, family, |message| {
            message
                .nested(CTA_TUPLE_ORIG, |tuple| {
                    tuple.nested(CTA_TUPLE_PROTO, |proto| {
                        proto.u8(CTA_PROTO_NUM, UDP).attr(CTA_PROTO_DST_PORT, &port.to_be_bytes());
                    });
                })
                .nested(CTA_FILTER, |filter| {
                    filter.u32(CTA_FILTER_ORIG_FLAGS, FILTER_PROTO_NUM | FILTER_PROTO_DST_PORT);
                    filter.u32(CTA_FILTER_REPLY_FLAGS, 0);
                });
        });
    }
}

/// A kernel that cannot delete by filter lets the entries time out.
fn delete(socket: &mut Socket, family: u8, fill: impl FnOnce(&mut Messages)) {
    // With version 0 the family would be ignored.
    const VERSION: u8 = 1;
    let mut messages = Messages::new();
    let kind = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE;
    messages.begin(kind, NLM_F_REQUEST, &[family, VERSION, 0, 0]);
    fill(&mut messages);
    messages.acknowledge();
    if let Err(refusal) = socket.transact(&mut messages) {
        tracing::debug!(error = %refusal.errno, "cannot forget tracked connections");
    }
}
