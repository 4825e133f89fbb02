//! `check-config`: checks the settings and the files that they name.

use std::io::{Write, stdout};

use crate::clock::now_ms;
use crate::config::{Config, ConfigErrors};
use crate::server::tls::{KeyPair, ValidityFault};
use crate::telemetry::logging::chain;

/// Prints the settings. Warnings go to standard error.
///
/// # Errors
///
/// When the certificate is not valid.
pub(super) fn run(config: &Config) -> Result<anyhow::Result<()>, ConfigErrors> {
    if let Some(files) = &config.tls {
        let pair =
            KeyPair::read(files).map_err(|error| ConfigErrors(vec![format!("tls_cert_file: {}", chain(&error))]))?;
        match pair.validity_fault(now_ms()) {
            Some(fault @ ValidityFault::Soon(_)) => eprintln!("systole-collector: tls_cert_file: {fault}; renew it"),
            Some(fault) => return Err(ConfigErrors(vec![format!("tls_cert_file: {fault}")])),
            None => {}
        }
    }
    Ok(write!(stdout(), "{config}").map_err(anyhow::Error::from))
}
