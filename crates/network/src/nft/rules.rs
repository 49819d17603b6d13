//! The text of our table, in code.
//!
//! The number of rules is constant; published ports are elements of maps. As `nft list table inet berth` shows it; the
//! parts for IPv6, which are alike, are left out:
//!
//! ```text
//! map published     { type inet_proto . ipv4_addr . inet_service : ipv4_addr . inet_service }   # one host address
//! map published-any { type inet_proto . inet_service : ipv4_addr . inet_service }               # all of them
//! chain antispoof   { type filter hook prerouting priority mangle
//!   iifname "berth0" ip saddr 127.0.0.0/8 drop            # route_localnet lets replies to the host's loopback in;
//!   iifname "berth0" ip daddr 127.0.0.0/8 drop            # here they still have the bridge's address
//! }
//! chain forward     { type filter hook forward priority filter
//!   oifname "berth0" iifname != "berth0" jump inbound     # with icc off also from the bridge itself
//! }
//! chain inbound     { ct state established,related accept; ct status dnat accept; drop }
//! chain prerouting  { type nat hook prerouting priority dstnat
//!   ip daddr 127.0.0.0/8 accept                           # published on loopback is for this host only
//!   jump publish
//! }
//! chain output      { type nat hook output priority -100; jump publish }   # ::1 only where replies can come back
//! chain publish     {
//!   dnat ip to meta l4proto . ip daddr . th dport map @published
//!   meta nfproto ipv4 fib daddr type local dnat ip to meta l4proto . th dport map @published-any
//! }
//! chain postrouting { type nat hook postrouting priority srcnat
//!   oifname "berth0" jump inward
//!   oifname != "berth0" ip saddr 172.17.0.0/16 masquerade
//! }
//! chain inward      {
//!   ip saddr 127.0.0.0/8 masquerade                       # from the host's loopback
//!   ip saddr 172.17.0.0/16 ct status dnat masquerade      # from a container through the host's address
//! }
//! ```
//!
//! `accept` ends our chain only: a drop of the host's own firewall stays a drop. That also holds for other engines: one
//! that sets the policy of its FORWARD chain to drop cuts our bridge from outside and, where bridged frames pass the
//! firewall (`net.bridge.bridge-nf-call-iptables`), our containers from each other. No rule of ours can undo that.
//!
//! When we turned the host's forwarding on, there is one chain more, `guard`: the host must not become a router between
//! networks that it did not connect before.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::encode::*;
use crate::{PortBinding, Subnet4, Subnet6};

const PUBLISHED: Map = Map {
    name: "published",
    id: 1,
    key_types: &[TYPE_PROTOCOL, TYPE_IPV4, TYPE_PORT],
    key_len: 12,
    data_types: &[TYPE_IPV4, TYPE_PORT],
    data_len: 8,
};
const PUBLISHED_ANY: Map =
    Map { name: "published-any", id: 2, key_types: &[TYPE_PROTOCOL, TYPE_PORT], key_len: 8, ..PUBLISHED };
const PUBLISHED6: Map = Map {
    name: "published6",
    id: 3,
    key_types: &[TYPE_PROTOCOL, TYPE_IPV6, TYPE_PORT],
    key_len: 24,
    data_types: &[TYPE_IPV6, TYPE_PORT],
    data_len: 20,
};
const PUBLISHED6_ANY: Map =
    Map { name: "published6-any", id: 4, key_types: &[TYPE_PROTOCOL, TYPE_PORT], key_len: 8, ..PUBLISHED6 };

/// Links with these kinds lead out of the host, as those without any kind (hardware) do.
const UPLINK_KINDS: [&str; 4] = ["vlan", "bond", "team", "macsec"];

/// What the table is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rules {
    pub(crate) bridge: String,
    pub(crate) subnet: Subnet4,
    pub(crate) subnet6: Option<Subnet6>,
    pub(crate) icc: bool,
    pub(crate) masquerade: bool,
    /// We turned forwarding on: packets between uplinks are dropped.
    pub(crate) guard: bool,
    /// Connections to `::1` can be redirected.
    pub(crate) loopback6: bool,
}

/// A published port and where it leads.
pub(crate) type Publication<'a> = (&'a PortBinding, IpAddr);

/// Name of the table of a bridge's engine.
pub(crate) fn table_name(bridge: &str) -> String {
    if bridge == "berth0" { "berth".to_owned() } else { format!("berth-{bridge}") }
}

impl Rules {
    /// Everything but the table itself and the elements of its maps.
    pub(super) fn fill(&self, batch: &mut Batch<'_>) {
        for map in [&PUBLISHED, &PUBLISHED_ANY, &PUBLISHED6, &PUBLISHED6_ANY] {
            batch.map(map);
        }
        self.antispoof(batch);
        self.forward(batch);
        if self.guard {
            guard(batch);
        }
        batch.chain("publish");
        publish(batch);
        batch.base_chain("prerouting", Hook { kind: "nat", number: PREROUTING, priority: -100 });
        batch.rule("prerouting", |rule| on_loopback(rule, Side::Destination).accept());
        batch.rule("prerouting", |rule| on_loopback6(rule, Side::Destination).accept());
        batch.rule("prerouting", |rule| rule.jump("publish"));
        batch.base_chain("output", Hook { kind: "nat", number: OUTPUT, priority: -100 });
        if !self.loopback6 {
            batch.rule("output", |rule| on_loopback6(rule, Side::Destination).accept());
        }
        batch.rule("output", |rule| rule.jump("publish"));
        self.postrouting(batch);
    }

    fn antispoof(&self, batch: &mut Batch<'_>) {
        batch.base_chain("antispoof", Hook { kind: "filter", number: PREROUTING, priority: -150 });
        for side in [Side::Source, Side::Destination] {
            batch.rule("antispoof", |rule| {
                on_loopback(rule.interface(Meta::IifName, &self.bridge, true), side).drop();
            });
        }
    }

    fn forward(&self, batch: &mut Batch<'_>) {
        batch.chain("inbound");
        batch.rule("inbound", |rule| rule.ct_any(Ct::State, CT_STATE_KNOWN).accept());
        batch.rule("inbound", |rule| rule.ct_any(Ct::Status, CT_STATUS_DNAT).accept());
        batch.rule("inbound", |rule| {
            rule.drop();
        });
        batch.base_chain("forward", Hook { kind: "filter", number: FORWARD, priority: 0 });
        batch.rule("forward", |rule| {
            rule.interface(Meta::OifName, &self.bridge, true);
            if self.icc {
                rule.interface(Meta::IifName, &self.bridge, false);
            }
            rule.jump("inbound");
        });
    }

    fn postrouting(&self, batch: &mut Batch<'_>) {
        batch.chain("inward");
        batch.rule("inward", |rule| on_loopback(rule, Side::Source).masquerade());
        batch.rule("inward", |rule| on_loopback6(rule, Side::Source).masquerade());
        batch.rule("inward", |rule| {
            from_subnet(rule, self.subnet).ct_any(Ct::Status, CT_STATUS_DNAT).masquerade();
        });
        if let Some(subnet) = self.subnet6 {
            batch.rule("inward", |rule| {
                from_subnet6(rule, subnet).ct_any(Ct::Status, CT_STATUS_DNAT).masquerade();
            });
        }
        batch.base_chain("postrouting", Hook { kind: "nat", number: POSTROUTING, priority: 100 });
        batch.rule("postrouting", |rule| rule.interface(Meta::OifName, &self.bridge, true).jump("inward"));
        if self.masquerade {
            batch.rule("postrouting", |rule| {
                from_subnet(rule.interface(Meta::OifName, &self.bridge, false), self.subnet).masquerade();
            });
            if let Some(subnet) = self.subnet6 {
                batch.rule("postrouting", |rule| {
                    from_subnet6(rule.interface(Meta::OifName, &self.bridge, false), subnet).masquerade();
                });
            }
        }
    }
}

/// A packet that came in by an uplink and leaves by an uplink is dropped. `meta iifkind` matches nothing on a link
/// without kind, so the first two rules pass on exactly what has another kind.
fn guard(batch: &mut Batch<'_>) {
    batch.base_chain("guard", Hook { kind: "filter", number: FORWARD, priority: -1 });
    for which in [Meta::IifKind, Meta::OifKind] {
        batch.rule("guard", |rule| {
            rule.meta(which, 0);
            for kind in UPLINK_KINDS {
                rule.differs(&padded_name(kind));
            }
            rule.accept();
        });
    }
    batch.rule("guard", |rule| {
        rule.drop();
    });
}

fn publish(batch: &mut Batch<'_>) {
    const IPV4_DESTINATION: u32 = 16;
    const IPV6_DESTINATION: u32 = 24;
    for (family, offset, len, exact, any) in [
        (NFPROTO_IPV4, IPV4_DESTINATION, 4, PUBLISHED, PUBLISHED_ANY),
        (NFPROTO_IPV6, IPV6_DESTINATION, 16, PUBLISHED6, PUBLISHED6_ANY),
    ] {
        batch.rule("publish", |rule| {
            rule.family(family).meta(Meta::L4Proto, 0).payload(Header::Network, offset, len, 1);
            rule.payload(Header::Transport, 2, 2, 1 + len / 4).lookup(&exact).dnat(family);
        });
        batch.rule("publish", |rule| {
            rule.family(family).destination_is_local().meta(Meta::L4Proto, 0);
            rule.payload(Header::Transport, 2, 2, 1).lookup(&any).dnat(family);
        });
    }
}

#[derive(Clone, Copy)]
enum Side {
    Source,
    Destination,
}

impl Side {
    fn ipv4_offset(self) -> u32 {
        match self {
            Side::Source => 12,
            Side::Destination => 16,
        }
    }

    fn ipv6_offset(self) -> u32 {
        match self {
            Side::Source => 8,
            Side::Destination => 24,
        }
    }
}

fn on_loopback<'a, 'b>(rule: &'a mut Expressions<'b>, side: Side) -> &'a mut Expressions<'b> {
    rule.family(NFPROTO_IPV4).payload(Header::Network, side.ipv4_offset(), 1, 0).equal(&[127])
}

fn on_loopback6<'a, 'b>(rule: &'a mut Expressions<'b>, side: Side) -> &'a mut Expressions<'b> {
    let loopback = Ipv6Addr::LOCALHOST.octets();
    rule.family(NFPROTO_IPV6).payload(Header::Network, side.ipv6_offset(), 16, 0).equal(&loopback)
}

fn from_subnet<'a, 'b>(rule: &'a mut Expressions<'b>, subnet: Subnet4) -> &'a mut Expressions<'b> {
    let offset = Side::Source.ipv4_offset();
    let rule = rule.family(NFPROTO_IPV4).payload(Header::Network, offset, 4, 0);
    rule.mask(&subnet.mask().to_be_bytes()).equal(&subnet.network().octets())
}

fn from_subnet6<'a, 'b>(rule: &'a mut Expressions<'b>, subnet: Subnet6) -> &'a mut Expressions<'b> {
    let offset = Side::Source.ipv6_offset();
    let rule = rule.family(NFPROTO_IPV6).payload(Header::Network, offset, 16, 0);
    rule.mask(&subnet.mask().to_be_bytes()).equal(&subnet.network().octets())
}

/// Elements by map.
pub(super) fn elements(publications: &[Publication<'_>]) -> BTreeMap<&'static str, Vec<Element>> {
    let mut elements: BTreeMap<&'static str, Vec<Element>> = BTreeMap::new();
    for (binding, target) in publications {
        let (map, element) = element(binding, *target);
        elements.entry(map).or_default().push(element);
    }
    elements
}

/// The map of a published port, and its element there.
fn element(binding: &PortBinding, target: IpAddr) -> (&'static str, Element) {
    let mut key = vec![binding.protocol.number(), 0, 0, 0];
    let map = match binding.host_ip {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => PUBLISHED_ANY,
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => PUBLISHED6_ANY,
        IpAddr::V4(address) => {
            key.extend_from_slice(&address.octets());
            PUBLISHED
        }
        IpAddr::V6(address) => {
            key.extend_from_slice(&address.octets());
            PUBLISHED6
        }
    };
    push_port(&mut key, binding.host_port);
    let mut data = match target {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    push_port(&mut data, binding.container_port);
    (map.name, Element { key, data })
}

fn push_port(bytes: &mut Vec<u8>, port: u16) {
    bytes.extend_from_slice(&port.to_be_bytes());
    bytes.extend_from_slice(&[0, 0]);
}
