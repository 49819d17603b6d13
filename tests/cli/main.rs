//! Black-box tests of the command line: ours and the real `docker` against our engine.

mod inside;
mod limits;
mod terminal;
mod walk;
