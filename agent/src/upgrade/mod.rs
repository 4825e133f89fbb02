//! The agent replaces itself by another version, while its pipelines run on.
//!
//! A new program is fetched ([`source`]), verified ([`verify`]), asked for its version ([`probe`]), and takes the
//! place of the old one, which is kept beside it ([`program`]). Then the process becomes the new program by
//! `exec` ([`handover`]): the same process id, so the pipelines stay its children. Lines and counters continue
//! from the checkpoint and from what is handed over.
//!
//! The new version is on trial ([`trial`]) until a report is accepted. If none is accepted in time, the process
//! becomes the old program again in the same way. If the new version crashes, the service manager starts it
//! again, and the [`launch`] runs the old program instead. A file in the data directory ([`marker`]) says where
//! an upgrade stands.

pub(crate) mod cli;
mod control;
pub(crate) mod handover;
pub(crate) mod launch;
mod marker;
mod probe;
mod program;
mod source;
mod trial;
mod verify;

pub(crate) use control::{UpgradeParts, Upgrades};
pub(crate) use marker::Phase as UpgradePhase;
pub(crate) use verify::is_sha256;
