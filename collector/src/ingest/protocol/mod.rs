//! Protocols of agents. Each reads its own wire into the types of [`crate::model::report`].

mod first;
mod json;
mod labels;
pub(crate) mod native;
mod numbers;
mod seen;
mod text;
pub(crate) mod vectorflow;

/// The code and the detail of a refusal.
type Fault = (systole_shared::RefusalCode, String);
