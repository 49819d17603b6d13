//! nf_tables messages: tables, chains, maps, elements, and the expressions that rules are made of.

use crate::netlink::{Messages, consts::*};

pub(super) const NFPROTO_UNSPEC: u8 = 0;
pub(super) const NFPROTO_INET: u8 = 1;
pub(super) const NFPROTO_IPV4: u8 = 2;
pub(super) const NFPROTO_IPV6: u8 = 10;

pub(super) const NFT_MSG_NEWTABLE: u16 = 0;
pub(super) const NFT_MSG_DELTABLE: u16 = 2;
pub(super) const NFT_MSG_NEWCHAIN: u16 = 3;
pub(super) const NFT_MSG_GETCHAIN: u16 = 4;
pub(super) const NFT_MSG_NEWRULE: u16 = 6;
pub(super) const NFT_MSG_NEWSET: u16 = 9;
pub(super) const NFT_MSG_NEWSETELEM: u16 = 12;
pub(super) const NFT_MSG_DELSETELEM: u16 = 14;

pub(super) const NFT_TABLE_F_OWNER: u32 = 0x2;
pub(super) const NFT_TABLE_F_PERSIST: u32 = 0x4;

pub(super) const NFTA_TABLE_NAME: u16 = 1;
pub(super) const NFTA_TABLE_FLAGS: u16 = 2;
pub(super) const NFTA_CHAIN_TABLE: u16 = 1;
pub(super) const NFTA_CHAIN_NAME: u16 = 3;
pub(super) const NFTA_CHAIN_HOOK: u16 = 4;
pub(super) const NFTA_CHAIN_POLICY: u16 = 5;
pub(super) const NFTA_CHAIN_USE: u16 = 6;
const NFTA_CHAIN_TYPE: u16 = 7;
pub(super) const NFTA_HOOK_HOOKNUM: u16 = 1;
const NFTA_HOOK_PRIORITY: u16 = 2;
const NFTA_RULE_TABLE: u16 = 1;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_EXPRESSIONS: u16 = 4;
const NFTA_LIST_ELEM: u16 = 1;
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_DATA_VALUE: u16 = 1;
const NFTA_DATA_VERDICT: u16 = 2;
const NFTA_VERDICT_CODE: u16 = 1;
const NFTA_VERDICT_CHAIN: u16 = 2;
const NFTA_SET_TABLE: u16 = 1;
const NFTA_SET_NAME: u16 = 2;
const NFTA_SET_FLAGS: u16 = 3;
const NFTA_SET_KEY_TYPE: u16 = 4;
const NFTA_SET_KEY_LEN: u16 = 5;
const NFTA_SET_DATA_TYPE: u16 = 6;
const NFTA_SET_DATA_LEN: u16 = 7;
const NFTA_SET_ID: u16 = 10;
const NFTA_SET_ELEM_LIST_TABLE: u16 = 1;
const NFTA_SET_ELEM_LIST_SET: u16 = 2;
const NFTA_SET_ELEM_LIST_ELEMENTS: u16 = 3;
const NFTA_SET_ELEM_KEY: u16 = 1;
const NFTA_SET_ELEM_DATA: u16 = 2;
const NFT_SET_MAP: u32 = 0x8;

const NF_DROP: u32 = 0;
const NF_ACCEPT: u32 = 1;
const NFT_JUMP: u32 = (-3_i32).cast_unsigned();

/// Registers hold four bytes each and are filled in order.
const REGISTER: u32 = 8;

/// Elements in one message: far below the 64 KiB that its list may have.
const ELEMENTS_PER_MESSAGE: usize = 400;

/// Where a base chain hangs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hook {
    /// `filter` or `nat`.
    pub(super) kind: &'static str,
    pub(super) number: u32,
    pub(super) priority: i32,
}

pub(super) const PREROUTING: u32 = 0;
pub(super) const FORWARD: u32 = 2;
pub(super) const OUTPUT: u32 = 3;
pub(super) const POSTROUTING: u32 = 4;

/// A map from a concatenation to an address and a port.
#[derive(Debug, Clone, Copy)]
pub(super) struct Map {
    pub(super) name: &'static str,
    /// Number within the batch that makes it.
    pub(super) id: u32,
    /// nft's names of the parts, for `nft list`: see `datatype.h` of nftables.
    pub(super) key_types: &'static [u32],
    pub(super) key_len: u32,
    pub(super) data_types: &'static [u32],
    pub(super) data_len: u32,
}

/// A key of a map and what it leads to, each part padded to four bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) key: Vec<u8>,
    pub(super) data: Vec<u8>,
}

pub(super) const TYPE_IPV4: u32 = 7;
pub(super) const TYPE_IPV6: u32 = 8;
pub(super) const TYPE_PROTOCOL: u32 = 12;
pub(super) const TYPE_PORT: u32 = 13;

/// A batch: all of it takes effect at once or nothing of it.
#[derive(Debug)]
pub(super) struct Batch<'a> {
    messages: Messages,
    table: &'a str,
}

impl<'a> Batch<'a> {
    pub(super) fn new(table: &'a str) -> Batch<'a> {
        let mut messages = Messages::new();
        messages.begin(NFNL_MSG_BATCH_BEGIN, NLM_F_REQUEST, &batch_header());
        Batch { messages, table }
    }

    /// The messages to send. The last one before the end is acknowledged.
    pub(super) fn finish(mut self) -> Messages {
        self.messages.acknowledge();
        self.messages.begin(NFNL_MSG_BATCH_END, NLM_F_REQUEST, &batch_header());
        self.messages
    }

    /// Makes the table, or changes the flags of the one that is there.
    pub(super) fn table(&mut self, flags: u32) {
        let table = self.table;
        self.begin(NFT_MSG_NEWTABLE, NLM_F_CREATE)
            .string(NFTA_TABLE_NAME, table)
            .be32(NFTA_TABLE_FLAGS, flags);
    }

    /// Removes the table with all in it.
    pub(super) fn delete_table(&mut self) {
        let table = self.table;
        self.begin(NFT_MSG_DELTABLE, 0).string(NFTA_TABLE_NAME, table);
    }

    pub(super) fn base_chain(&mut self, name: &str, hook: Hook) {
        self.chain(name);
        self.messages
            .nested(NFTA_CHAIN_HOOK, |nest| {
                nest.be32(NFTA_HOOK_HOOKNUM, hook.number)
                    .be32(NFTA_HOOK_PRIORITY, hook.priority.cast_unsigned());
            })
            .be32(NFTA_CHAIN_POLICY, NF_ACCEPT)
            .string(NFTA_CHAIN_TYPE, hook.kind);
    }

    pub(super) fn chain(&mut self, name: &str) {
        let table = self.table;
        self.begin(NFT_MSG_NEWCHAIN, NLM_F_CREATE)
            .string(NFTA_CHAIN_TABLE, table)
            .string(NFTA_CHAIN_NAME, name);
    }

    /// Appends a rule to a chain.
    pub(super) fn rule(&mut self, chain: &str, fill: impl FnOnce(&mut Expressions<'_>)) {
        let table = self.table;
        self.begin(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND)
            .string(NFTA_RULE_TABLE, table)
            .string(NFTA_RULE_CHAIN, chain)
            .nested(NFTA_RULE_EXPRESSIONS, |list| fill(&mut Expressions(list)));
    }

    pub(super) fn map(&mut self, map: &Map) {
        let table = self.table;
        let concatenation = |types: &[u32]| types.iter().fold(0, |all, part| all << 6 | part);
        self.begin(NFT_MSG_NEWSET, NLM_F_CREATE)
            .string(NFTA_SET_TABLE, table)
            .string(NFTA_SET_NAME, map.name)
            .be32(NFTA_SET_FLAGS, NFT_SET_MAP)
            .be32(NFTA_SET_KEY_TYPE, concatenation(map.key_types))
            .be32(NFTA_SET_KEY_LEN, map.key_len)
            .be32(NFTA_SET_DATA_TYPE, concatenation(map.data_types))
            .be32(NFTA_SET_DATA_LEN, map.data_len)
            .be32(NFTA_SET_ID, map.id);
    }

    pub(super) fn add_elements(&mut self, map: &str, elements: &[Element]) {
        for some in elements.chunks(ELEMENTS_PER_MESSAGE) {
            self.elements(NFT_MSG_NEWSETELEM, NLM_F_CREATE, map, some);
        }
    }

    pub(super) fn delete_elements(&mut self, map: &str, elements: &[Element]) {
        for some in elements.chunks(ELEMENTS_PER_MESSAGE) {
            self.elements(NFT_MSG_DELSETELEM, 0, map, some);
        }
    }

    fn elements(&mut self, kind: u16, flags: u16, map: &str, elements: &[Element]) {
        let table = self.table;
        self.begin(kind, flags)
            .string(NFTA_SET_ELEM_LIST_TABLE, table)
            .string(NFTA_SET_ELEM_LIST_SET, map)
            .nested(NFTA_SET_ELEM_LIST_ELEMENTS, |list| {
                for Element { key, data } in elements {
                    list.nested(NFTA_LIST_ELEM, |element| {
                        element
                            .nested(NFTA_SET_ELEM_KEY, |value| {
                                value.attr(NFTA_DATA_VALUE, key);
                            })
                            .nested(NFTA_SET_ELEM_DATA, |value| {
                                value.attr(NFTA_DATA_VALUE, data);
                            });
                    });
                }
            });
    }

    fn begin(&mut self, kind: u16, flags: u16) -> &mut Messages {
        self.messages.begin(message_kind(kind), NLM_F_REQUEST | flags, &family_header(NFPROTO_INET))
    }
}

pub(super) fn message_kind(kind: u16) -> u16 {
    NFNL_SUBSYS_NFTABLES << 8 | kind
}

/// `struct nfgenmsg`.
pub(super) fn family_header(family: u8) -> [u8; 4] {
    [family, 0, 0, 0]
}

/// `struct nfgenmsg` with the subsystem as resource.
fn batch_header() -> [u8; 4] {
    let [high, low] = NFNL_SUBSYS_NFTABLES.to_be_bytes();
    [NFPROTO_UNSPEC, 0, high, low]
}

/// The expressions of one rule, in order; the first that does not match ends it.
pub(super) struct Expressions<'a>(&'a mut Messages);

/// What `meta` looks at.
#[derive(Debug, Clone, Copy)]
pub(super) enum Meta {
    IifName = 6,
    OifName = 7,
    NfProto = 15,
    L4Proto = 16,
    IifKind = 26,
    OifKind = 27,
}

/// What `ct` looks at.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ct {
    State = 0,
    Status = 2,
}

/// Established and related.
pub(super) const CT_STATE_KNOWN: u32 = 2 | 4;
/// `IPS_DST_NAT`.
pub(super) const CT_STATUS_DNAT: u32 = 1 << 5;

/// The header a `payload` is read from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Header {
    Network = 1,
    Transport = 2,
}

impl Expressions<'_> {
    /// The packet is IPv4 or IPv6.
    pub(super) fn family(&mut self, family: u8) -> &mut Self {
        self.meta(Meta::NfProto, 0).equal(&[family])
    }

    /// The interface has, or has not, this name.
    pub(super) fn interface(&mut self, which: Meta, name: &str, wanted: bool) -> &mut Self {
        self.meta(which, 0);
        let padded = padded_name(name);
        if wanted { self.equal(&padded) } else { self.differs(&padded) }
    }

    /// Loads a property of the packet into a register.
    pub(super) fn meta(&mut self, key: Meta, register: u32) -> &mut Self {
        self.expression("meta", |data| {
            data.be32(2, key as u32).be32(1, REGISTER + register);
        })
    }

    /// Loads bytes of a header into registers.
    pub(super) fn payload(&mut self, header: Header, offset: u32, len: u32, register: u32) -> &mut Self {
        self.expression("payload", |data| {
            data.be32(1, REGISTER + register).be32(2, header as u32).be32(3, offset).be32(4, len);
        })
    }

    /// The connection has one of these bits.
    pub(super) fn ct_any(&mut self, key: Ct, bits: u32) -> &mut Self {
        self.expression("ct", |data| {
            data.be32(2, key as u32).be32(1, REGISTER);
        });
        self.mask(&bits.to_ne_bytes()).differs(&[0; 4])
    }

    /// Leaves only the bits of the mask in the first registers.
    pub(super) fn mask(&mut self, mask: &[u8]) -> &mut Self {
        let len = u32::try_from(mask.len()).expect("a mask is at most 16 bytes");
        self.expression("bitwise", |data| {
            data.be32(1, REGISTER).be32(2, REGISTER).be32(3, len);
            data.nested(4, |value| {
                value.attr(NFTA_DATA_VALUE, mask);
            });
            data.nested(5, |value| {
                value.attr(NFTA_DATA_VALUE, &vec![0; mask.len()]);
            });
        })
    }

    pub(super) fn equal(&mut self, value: &[u8]) -> &mut Self {
        self.compare(0, value)
    }

    pub(super) fn differs(&mut self, value: &[u8]) -> &mut Self {
        self.compare(1, value)
    }

    /// The destination is an address of this host.
    pub(super) fn destination_is_local(&mut self) -> &mut Self {
        const NFT_FIB_RESULT_ADDRTYPE: u32 = 3;
        const NFTA_FIB_F_DADDR: u32 = 2;
        const RTN_LOCAL: u32 = 2;
        self.expression("fib", |data| {
            data.be32(1, REGISTER).be32(2, NFT_FIB_RESULT_ADDRTYPE).be32(3, NFTA_FIB_F_DADDR);
        });
        self.equal(&RTN_LOCAL.to_ne_bytes())
    }

    /// Looks the registers up in a map of the same batch; its data replaces them.
    pub(super) fn lookup(&mut self, map: &Map) -> &mut Self {
        self.expression("lookup", |data| {
            data.string(1, map.name).be32(2, REGISTER).be32(3, REGISTER).be32(4, map.id);
        })
    }

    /// Redirects the connection to the address and port in the registers.
    pub(super) fn dnat(&mut self, family: u8) {
        const NFT_NAT_DNAT: u32 = 1;
        let port_register = REGISTER + if family == NFPROTO_IPV4 { 1 } else { 4 };
        self.expression("nat", |data| {
            data.be32(1, NFT_NAT_DNAT).be32(2, family.into());
            data.be32(3, REGISTER).be32(5, port_register);
        });
    }

    /// The connection leaves with the address of the interface it leaves by.
    pub(super) fn masquerade(&mut self) {
        self.expression("masq", |_| {});
    }

    pub(super) fn accept(&mut self) {
        self.verdict(NF_ACCEPT, None);
    }

    pub(super) fn drop(&mut self) {
        self.verdict(NF_DROP, None);
    }

    pub(super) fn jump(&mut self, chain: &str) {
        self.verdict(NFT_JUMP, Some(chain));
    }

    fn verdict(&mut self, code: u32, chain: Option<&str>) {
        self.expression("immediate", |data| {
            data.be32(1, 0).nested(2, |value| {
                value.nested(NFTA_DATA_VERDICT, |verdict| {
                    verdict.be32(NFTA_VERDICT_CODE, code);
                    if let Some(chain) = chain {
                        verdict.string(NFTA_VERDICT_CHAIN, chain);
                    }
                });
            });
        });
    }

    fn compare(&mut self, operator: u32, value: &[u8]) -> &mut Self {
        self.expression("cmp", |data| {
            data.be32(1, REGISTER).be32(2, operator).nested(3, |nest| {
                nest.attr(NFTA_DATA_VALUE, value);
            });
        })
    }

    fn expression(&mut self, name: &str, fill: impl FnOnce(&mut Messages)) -> &mut Self {
        self.0.nested(NFTA_LIST_ELEM, |element| {
            element.string(NFTA_EXPR_NAME, name).nested(NFTA_EXPR_DATA, fill);
        });
        self
    }
}

/// An interface name as the kernel compares it: `IFNAMSIZ` bytes.
pub(super) fn padded_name(name: &str) -> [u8; 16] {
    let mut padded = [0; 16];
    let len = name.len().min(15);
    padded[..len].copy_from_slice(&name.as_bytes()[..len]);
    padded
}
