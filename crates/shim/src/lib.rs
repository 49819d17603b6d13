//! The supervisor of one container: stdio, logs, attach, exec and exit status; outlives the engine.
