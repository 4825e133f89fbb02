//! What the centre decides: which pipelines run where, in which version, and with which secrets.
//!
//! `definition` checks the content of a pipeline, `definition_file` reads it from the file that operators write, and
//! `syntax` the configuration in it. `versions` applies it, with the `diff` that shows what changes. `secrets` seals
//! and reveals values with the keys of `key_file`. `rollout` brings versions to nodes, `delivery` what each node should run,
//! and `actions` what operators ask of a node at once. `audit` writes down what administrators and operators do.

pub(crate) mod actions;
pub(crate) mod audit;
pub(crate) mod definition;
pub(crate) mod definition_file;
pub(crate) mod delivery;
pub(crate) mod diff;
mod key_file;
pub(crate) mod rollout;
pub(crate) mod secrets;
pub(crate) mod syntax;
pub(crate) mod versions;
