//! The command line of Berth.
