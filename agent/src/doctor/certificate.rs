//! Until when certificates are valid: that of the collector, and the agent's own.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use systole_shared::{Finding, UnixMillis};
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::time::Time;

use crate::clock;
use crate::config::Config;

/// How long before its end a certificate is reported: renewal is usually due 30 days before it.
const WARN_BEFORE_END_MS: i64 = 14 * 24 * 3_600_000;

/// The validity of a certificate.
pub(super) fn judge(check: &str, what: &str, der: &[u8], now: UnixMillis, remedy: &str) -> Finding {
    let Some((begin, end)) = validity(der) else {
        return Finding::warning(check, format!("cannot read until when {what} is valid"), remedy);
    };
    let at = |time| clock::rfc3339(time).unwrap_or_else(|| time.to_string());
    if end <= now {
        Finding::problem(check, format!("{what} has expired, at {}", at(end)), remedy)
    } else if now < begin {
        let remedy = "correct the clock of this host";
        Finding::problem(check, format!("{what} is not valid before {}", at(begin)), remedy)
    } else if end - now < WARN_BEFORE_END_MS {
        Finding::warning(check, format!("{what} expires soon, at {}", at(end)), remedy)
    } else {
        Finding::ok(check, format!("{what} is valid until {}", at(end)))
    }
}

fn validity(der: &[u8]) -> Option<(UnixMillis, UnixMillis)> {
    let validity = Certificate::from_der(der).ok()?.tbs_certificate.validity;
    let millis = |time: Time| UnixMillis::try_from(time.to_unix_duration().as_millis()).ok();
    Some((millis(validity.not_before)?, millis(validity.not_after)?))
}

/// The agent's own certificate, if it has one. That the files can be used is part of the configuration.
pub(super) fn check_client(config: &Config, now: UnixMillis) -> Option<Finding> {
    let (path, _) = config.tls.client.as_ref()?;
    let what = format!("the certificate of this agent ({})", path.display());
    let remedy = "renew client_cert_file and client_key_file; the agent reads them again by itself";
    match CertificateDer::from_pem_file(path) {
        Ok(der) => Some(judge("client_cert", &what, &der, now, remedy)),
        Err(error) => Some(Finding::problem("client_cert", format!("cannot read {what}: {error}"), remedy)),
    }
}

#[cfg(test)]
mod tests {
    use systole_shared::Verdict;
    use systole_tests::harness::tls::Authority;

    use super::*;

    #[test]
    fn certificate_is_judged_by_its_time() {
        let dir = tempfile::tempdir().unwrap();
        let (file, _) = Authority::new(dir.path(), "authority").sign_until("node", (2026, 6, 1));
        let der = CertificateDer::from_pem_file(file).unwrap();
        let (begin, end) = validity(&der).unwrap();
        let judge = |now| judge("tls", "it", &der, now, "renew it").verdict;
        assert_eq!(end, 1_780_272_000_000);
        assert_eq!(judge(end - WARN_BEFORE_END_MS), Verdict::Ok);
        assert_eq!(judge(end - WARN_BEFORE_END_MS + 1), Verdict::Warning);
        assert_eq!(judge(end), Verdict::Problem);
        assert_eq!(judge(begin - 1), Verdict::Problem);
        assert_eq!(super::judge("tls", "it", b"no certificate", end, "").verdict, Verdict::Warning);
    }
}
