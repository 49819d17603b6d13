//! The commands: one file each, with its table of flags and its body.
//!
//! WHEN ADDING A COMMAND: a file here, its entry in the groups below.

mod artifact;
mod attach;
mod commit;
mod container_prune;
mod context;
mod cp;
mod create;
mod diff;
mod events;
mod exec;
mod export;
mod history;
mod image_prune;
mod image_tree;
mod images;
mod import;
mod info;
mod inspect;
mod kill;
mod later;
mod load;
mod login;
mod logs;
mod manifest;
mod many;
mod pause;
mod port;
mod prune;
mod ps;
pub(crate) mod pull;
mod push;
mod rename;
mod restart;
mod rm;
mod rmi;
mod run;
mod save;
mod search;
mod start;
mod stats;
mod stop;
mod system;
mod tag;
mod top;
mod update;
pub(crate) mod version;
mod volume;
mod wait;

use crate::command::{Entry, Group};

/// What newcomers use, in the order in which they meet it.
pub(crate) static COMMON: &[&dyn Entry] = &[
    &run::COMMAND,
    &exec::COMMAND,
    &ps::COMMAND,
    &pull::COMMAND,
    &push::COMMAND,
    &images::COMMAND,
    &version::COMMAND,
    &info::COMMAND,
];

/// Groups by noun.
pub(crate) static MANAGEMENT: &[&dyn Entry] = &[
    &artifact::GROUP,
    &crate::completion::GROUP,
    &CONTAINER,
    &context::GROUP,
    &IMAGE,
    &manifest::GROUP,
    &SYSTEM,
    &VOLUME,
];

/// The other verbs.
pub(crate) static OTHER: &[&dyn Entry] = &[
    &attach::COMMAND,
    &commit::COMMAND,
    &cp::COMMAND,
    &create::COMMAND,
    &diff::COMMAND,
    &events::COMMAND,
    &export::COMMAND,
    &history::COMMAND,
    &import::COMMAND,
    &inspect::COMMAND,
    &kill::COMMAND,
    &load::COMMAND,
    &login::COMMAND,
    &login::LOGOUT,
    &logs::COMMAND,
    &pause::COMMAND,
    &port::COMMAND,
    &rename::COMMAND,
    &restart::COMMAND,
    &rm::COMMAND,
    &rmi::COMMAND,
    &save::COMMAND,
    &search::COMMAND,
    &start::COMMAND,
    &stats::COMMAND,
    &stop::COMMAND,
    &tag::COMMAND,
    &top::COMMAND,
    &pause::UNPAUSE,
    &update::COMMAND,
    &wait::COMMAND,
];

/// Docker's commands that Berth does not have yet: they say so.
pub(crate) static HIDDEN: &[&dyn Entry] = later::ALL;

static CONTAINER: Group = Group {
    name: "container",
    about: "Manage containers",
    commands: &[
        &attach::COMMAND,
        &commit::COMMAND,
        &cp::COMMAND,
        &create::COMMAND,
        &diff::COMMAND,
        &exec::COMMAND,
        &export::COMMAND,
        &inspect::CONTAINER,
        &kill::COMMAND,
        &logs::COMMAND,
        &ps::LS,
        &pause::COMMAND,
        &port::COMMAND,
        &container_prune::COMMAND,
        &rename::COMMAND,
        &restart::COMMAND,
        &rm::COMMAND,
        &run::COMMAND,
        &start::COMMAND,
        &stats::COMMAND,
        &stop::COMMAND,
        &top::COMMAND,
        &pause::UNPAUSE,
        &update::COMMAND,
        &wait::COMMAND,
    ],
    aliases: &[("ps", "ls"), ("list", "ls"), ("remove", "rm")],
    later: &[],
};

static IMAGE: Group = Group {
    name: "image",
    about: "Manage images",
    commands: &[
        &history::COMMAND,
        &import::COMMAND,
        &inspect::IMAGE,
        &load::COMMAND,
        &images::LS,
        &image_prune::COMMAND,
        &pull::COMMAND,
        &push::COMMAND,
        &rmi::RM,
        &save::COMMAND,
        &tag::COMMAND,
    ],
    aliases: &[("list", "ls"), ("remove", "rm")],
    later: later::IMAGE,
};

static SYSTEM: Group = Group {
    name: "system",
    about: "Look at the engine",
    commands: &[&system::DF, &system::FSCK, &events::COMMAND, &info::COMMAND, &system::PRUNE],
    aliases: &[],
    // For programs, not for people: it is not in the list of commands.
    later: &[&system::DIAL],
};

static VOLUME: Group = Group {
    name: "volume",
    about: "Manage volumes",
    commands: &[&volume::CREATE, &inspect::VOLUME, &volume::LS, &volume::PRUNE, &volume::RM],
    aliases: &[("list", "ls"), ("remove", "rm")],
    // As in Docker where there is no cluster, it is not in the list of commands.
    later: &[&volume::UPDATE],
};
