//! Protocols of agents. Each reads its own wire into [`crate::model::report::NodeReport`].

pub(crate) mod native;
