//! What this program was built from.

use serde::Serialize;

/// The build, as `--version --json` prints it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Build {
    /// `systole-collector`.
    pub name: &'static str,
    /// Of the crate.
    pub version: &'static str,
    /// Of the source; `None` when the build did not know it.
    pub commit: Option<&'static str>,
    /// The platform, as rustc names it.
    pub target: &'static str,
    /// The output of `rustc --version`.
    pub rustc: &'static str,
}

/// This program.
pub(crate) const BUILD: Build = Build {
    name: "systole-collector",
    version: env!("CARGO_PKG_VERSION"),
    commit: option_env!("SYSTOLE_BUILD_COMMIT"),
    target: env!("SYSTOLE_BUILD_TARGET"),
    rustc: env!("SYSTOLE_BUILD_RUSTC"),
};
