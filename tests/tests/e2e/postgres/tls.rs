//! TLS to PostgreSQL: what each `sslmode` asks of the server's certificate.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use systole_tests::harness::TestPostgres;
use systole_tests::harness::binaries::binary;
use tokio::process::Command;

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    let key = KeyPair::generate().expect("a key");
    CertifiedIssuer::self_signed(params, key).expect("a certificate")
}

/// Whether a command of the collector can use the database.
async fn can_use(url: &str) -> Result<(), String> {
    let mut command = Command::new(binary("systole-collector"));
    let output = command.args(["environment", "list", "--database-url", url]).output().await;
    let output = output.expect("the program starts");
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

#[tokio::test]
async fn sslmodes_check_what_they_state() {
    let directory = tempfile::tempdir().unwrap();
    let (own, stranger) = (authority("own"), authority("stranger"));
    let file = |name: &str, pem: String| {
        let path = directory.path().join(name);
        std::fs::write(&path, pem).unwrap();
        path
    };
    let (trusted, other) = (file("own.pem", own.pem()), file("stranger.pem", stranger.pem()));
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &own).unwrap();
    let server = TestPostgres::alone_with(&[
        ("postgresql.conf", "listen_addresses = '127.0.0.1'\nssl = on\n"),
        ("server.crt", &certificate.pem()),
        ("server.key", &key.serialize_pem()),
        // The network needs TLS.
        ("pg_hba.conf", "local all all trust\nhostssl all all all trust\n"),
    ]);
    let url = |host: &str, mode: &str, root: Option<&Path>| {
        let root = root.map(|path| format!("&sslrootcert={}", path.display())).unwrap_or_default();
        format!("{}?sslmode={mode}{root}", server.network_url(host))
    };
    for (host, mode, root) in [
        ("127.0.0.1", "prefer", None),
        ("127.0.0.1", "require", None),
        ("127.0.0.1", "require", Some(&trusted)),
        ("127.0.0.1", "verify-ca", Some(&trusted)),
        ("localhost", "verify-full", Some(&trusted)),
    ] {
        let used = can_use(&url(host, mode, root.map(AsRef::as_ref))).await;
        assert_eq!(used, Ok(()), "{mode} to {host} with {root:?}");
    }
    for (host, mode, root, message) in [
        ("127.0.0.1", "disable", None, "no encryption"),
        ("127.0.0.1", "require", Some(&other), "certificate"),
        ("127.0.0.1", "verify-ca", Some(&other), "certificate"),
        ("127.0.0.1", "verify-full", Some(&trusted), "certificate"),
        ("localhost", "verify-full", Some(&other), "certificate"),
        ("localhost", "verify-full", None, "certificate"),
    ] {
        let refused = can_use(&url(host, mode, root.map(AsRef::as_ref))).await.unwrap_err();
        assert!(refused.contains(message), "{mode} to {host} with {root:?}: {refused}");
    }
}
