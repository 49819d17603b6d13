//! The conversation about our table.

use rustix::io::Errno;

use super::{
    encode::*,
    rules::{Publication, Rules, elements},
};
use crate::{
    Error,
    netlink::{Messages, Refusal, Socket, consts::*},
};

/// Our table and the socket that it is spoken to over.
///
/// Where the kernel can, the table belongs to the socket: no other program can change or flush it while the engine
/// runs, and it stays when the engine goes (`NFT_TABLE_F_OWNER`, `NFT_TABLE_F_PERSIST`, Linux 6.9).
#[derive(Debug)]
pub(crate) struct Firewall {
    socket: Socket,
    table: String,
    flags: u32,
}

/// How the table is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TableState {
    /// Nobody made it, or somebody removed it.
    Missing,
    /// It is there and has all its chains.
    Whole {
        /// It has the chain that keeps the host from becoming a router.
        guard: bool,
    },
    /// It is there, but chains or rules are missing.
    Damaged,
}

const CHAINS: [&str; 8] =
    ["antispoof", "inbound", "forward", "publish", "prerouting", "output", "inward", "postrouting"];

impl Firewall {
    pub(crate) fn open(table: String, own: bool) -> Result<Firewall, Error> {
        let socket =
            Socket::netfilter(0).map_err(|errno| Error::kernel("open a socket to nf_tables", errno))?;
        let flags = if own { NFT_TABLE_F_OWNER | NFT_TABLE_F_PERSIST } else { 0 };
        Ok(Firewall { socket, table, flags })
    }

    /// Whether no other program can change the table.
    pub(crate) fn owned(&self) -> bool {
        self.flags != 0
    }

    /// Puts the table as it should be into the place of what is there, without a moment between the two.
    pub(crate) fn replace(&mut self, rules: &Rules, publications: &[Publication<'_>]) -> Result<(), Error> {
        match self.try_replace(rules, publications) {
            // The kernel knows no owner that outlives its socket.
            Err(Refusal { errno: Errno::OPNOTSUPP | Errno::INVAL, .. }) if self.flags != 0 => {
                self.flags = 0;
                self.try_replace(rules, publications)
            }
            result => result,
        }
        .map_err(|refusal| self.failed("write", refusal))
    }

    fn try_replace(&mut self, rules: &Rules, publications: &[Publication<'_>]) -> Result<(), Refusal> {
        let mut batch = Batch::new(&self.table);
        // Making it first means that there is something to delete.
        batch.table(self.flags);
        batch.delete_table();
        batch.table(self.flags);
        rules.fill(&mut batch);
        for (map, elements) in elements(publications) {
            batch.add_elements(map, &elements);
        }
        self.socket.transact(&mut batch.finish())
    }

    /// Opens ports; all or none.
    pub(crate) fn publish(&mut self, publications: &[Publication<'_>]) -> Result<(), Error> {
        let mut batch = Batch::new(&self.table);
        for (map, elements) in elements(publications) {
            batch.add_elements(map, &elements);
        }
        self.socket.transact(&mut batch.finish()).map_err(|refusal| self.failed("publish ports in", refusal))
    }

    /// Closes ports. Those that are not there are no error.
    pub(crate) fn unpublish(&mut self, publications: &[Publication<'_>]) -> Result<(), Error> {
        let elements = elements(publications);
        let mut batch = Batch::new(&self.table);
        for (map, elements) in &elements {
            batch.delete_elements(map, elements);
        }
        match self.socket.transact(&mut batch.finish()) {
            Err(Refusal { errno: Errno::NOENT, .. }) => {}
            result => return result.map_err(|refusal| self.failed("close ports in", refusal)),
        }
        // One of them is missing and the batch was refused as a whole: each on its own.
        for (map, elements) in &elements {
            for element in elements {
                let mut batch = Batch::new(&self.table);
                batch.delete_elements(map, std::slice::from_ref(element));
                match self.socket.transact(&mut batch.finish()) {
                    Ok(()) | Err(Refusal { errno: Errno::NOENT, .. }) => {}
                    Err(refusal) => return Err(self.failed("close ports in", refusal)),
                }
            }
        }
        Ok(())
    }

    /// Looks whether the table is there with its chains.
    pub(crate) fn state(&mut self) -> Result<TableState, Error> {
        let mut chains = self.chains()?;
        chains.retain(|chain| chain.table == self.table && chain.family == NFPROTO_INET);
        let has = |name: &str| chains.iter().any(|chain| chain.name == name && chain.uses > 0);
        Ok(if chains.is_empty() {
            TableState::Missing
        } else if CHAINS.iter().all(|name| has(name)) {
            TableState::Whole { guard: has("guard") }
        } else {
            TableState::Damaged
        })
    }

    /// Tables of others with a base chain that drops forwarded packets by policy.
    pub(crate) fn foreign_forward_drops(&mut self) -> Result<Vec<String>, Error> {
        let mut chains = self.chains()?;
        chains.retain(|chain| chain.table != self.table && chain.drops_forwarded);
        Ok(chains.into_iter().map(|chain| format!("{} {}", chain.table, chain.name)).collect())
    }

    /// Removes the table; it may be gone already.
    pub(crate) fn remove(&mut self) -> Result<(), Error> {
        let mut batch = Batch::new(&self.table);
        batch.delete_table();
        match self.socket.transact(&mut batch.finish()) {
            Ok(()) | Err(Refusal { errno: Errno::NOENT, .. }) => Ok(()),
            Err(refusal) => Err(self.failed("remove", refusal)),
        }
    }

    /// The port of the socket that changes the table: notices of its changes are our own.
    pub(crate) fn port(&self) -> Result<u32, Error> {
        self.socket.port().map_err(|errno| Error::kernel("read the address of a netlink socket", errno))
    }

    fn chains(&mut self) -> Result<Vec<Chain>, Error> {
        let mut request = Messages::new();
        let kind = message_kind(NFT_MSG_GETCHAIN);
        request.begin(kind, NLM_F_REQUEST | NLM_F_DUMP, &family_header(NFPROTO_UNSPEC));
        let chains = self.socket.dump(&mut request, |chains: &mut Vec<Chain>, reply| {
            const NF_DROP: u32 = 0;
            let attributes = reply.attributes(4);
            let hook = attributes.nested(NFTA_CHAIN_HOOK).be32(NFTA_HOOK_HOOKNUM);
            chains.push(Chain {
                family: reply.header_u8(0),
                table: attributes.string(NFTA_CHAIN_TABLE).unwrap_or_default().to_owned(),
                name: attributes.string(NFTA_CHAIN_NAME).unwrap_or_default().to_owned(),
                uses: attributes.be32(NFTA_CHAIN_USE).unwrap_or(0),
                drops_forwarded: hook == Some(FORWARD) && attributes.be32(NFTA_CHAIN_POLICY) == Some(NF_DROP),
            });
        });
        chains.map_err(|refusal| self.failed("look at", refusal))
    }

    fn failed(&self, doing: &str, refusal: Refusal) -> Error {
        Error::kernel(format!("{doing} the nftables table {}", self.table), refusal)
    }
}

struct Chain {
    family: u8,
    table: String,
    name: String,
    /// Its rules, and the jumps to it.
    uses: u32,
    drops_forwarded: bool,
}
