//! The agent's own metrics as a page of text.

pub(super) mod exposition;
mod process;
mod text;
