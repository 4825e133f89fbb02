//! Reads the keys for upgrades of the agent itself.

use std::time::Duration;

use super::section::Section;
use super::settings::{self, Lookup};
use crate::model::upgrade::{UpdateKey, UpgradeConfig};

/// Seconds that a new version can have: a start takes a few, and no operator waits for longer.
const TIMEOUT_BOUNDS: std::ops::RangeInclusive<i64> = 5..=600;

/// Reads `accept_upgrades`, `update_key` and `upgrade_timeout`.
pub(super) fn read(root: &mut Section<'_>, env: Lookup<'_>) -> UpgradeConfig {
    let mut config = UpgradeConfig { accept: root.flag("accept_upgrades"), ..UpgradeConfig::default() };
    let key = settings::first(
        ("", None),
        &["SYSTOLE_UPDATE_KEY", "VF_UPDATE_PUBLIC_KEY"],
        env,
        ("update_key", root.text("update_key")),
    );
    if let Some(found) = key {
        config.key = UpdateKey::parse(&found.value);
        if config.key.is_none() {
            root.errors().add(found.place, "must be an Ed25519 public key in base64: 32 bytes, or the output of `openssl pkey -pubout -outform DER | base64`");
        }
    }
    if let Some(seconds) = root.number("upgrade_timeout") {
        match u64::try_from(seconds) {
            Ok(positive) if TIMEOUT_BOUNDS.contains(&seconds) => config.timeout = Duration::from_secs(positive),
            _ => root.error("upgrade_timeout", format!("invalid time `{seconds}`, expected 5 to 600 seconds")),
        }
    }
    config
}
