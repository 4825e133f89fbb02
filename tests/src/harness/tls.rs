//! TLS in front of a collector, with generated certificates, and a proxy on the way to it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// An authority that signs certificates into files.
#[derive(Debug)]
pub struct Authority {
    directory: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate (PEM).
    pub certificate: PathBuf,
}

impl Authority {
    /// A new authority with its files in `directory`.
    pub fn new(directory: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new([]).expect("no names are good names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key can be made");
        let own = params.self_signed(&key).expect("an authority signs itself");
        let certificate = directory.join(format!("{name}.pem"));
        std::fs::write(&certificate, own.pem()).expect("the certificate is written");
        Authority { directory: directory.to_owned(), issuer: Issuer::new(params, key), certificate }
    }

    /// Signs a certificate for this host; returns the files of certificate and key.
    pub fn sign(&self, name: &str) -> (PathBuf, PathBuf) {
        self.sign_with(name, |_| ())
    }

    /// The same for a certificate that is valid until the begin of a day: year, month, day.
    pub fn sign_until(&self, name: &str, (year, month, day): (i32, u8, u8)) -> (PathBuf, PathBuf) {
        self.sign_with(name, |params| params.not_after = date_time_ymd(year, month, day))
    }

    fn sign_with(&self, name: &str, change: impl Fn(&mut CertificateParams)) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().expect("a key can be made");
        let mut params = CertificateParams::new(["127.0.0.1".to_owned(), "localhost".to_owned()]).expect("good names");
        change(&mut params);
        let signed = params.signed_by(&key, &self.issuer).expect("the authority signs");
        let paths = ["crt", "key"].map(|suffix| self.directory.join(format!("{name}.{suffix}")));
        std::fs::write(&paths[0], signed.pem()).expect("the certificate is written");
        std::fs::write(&paths[1], key.serialize_pem()).expect("the key is written");
        let [certificate, key] = paths;
        (certificate, key)
    }
}

/// Ends TLS and hands what comes on to a server without.
#[derive(Debug)]
pub struct TlsFront {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl TlsFront {
    /// Serves `url` with this certificate and key; `clients` is the authority that must have signed
    /// the clients' certificates, if they need any.
    pub async fn start(url: &str, own: &(PathBuf, PathBuf), clients: Option<&Authority>) -> Self {
        super::client::install_crypto();
        let upstream: SocketAddr = url.trim_start_matches("http://").parse().expect("an address");
        let chain = CertificateDer::pem_file_iter(&own.0).expect("PEM").map(|der| der.expect("PEM")).collect();
        let key = PrivateKeyDer::from_pem_file(&own.1).expect("a key");
        let config = ServerConfig::builder();
        let config = match clients {
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(CertificateDer::from_pem_file(&authority.certificate).expect("PEM")).expect("a root");
                config
                    .with_client_cert_verifier(WebPkiClientVerifier::builder(roots.into()).build().expect("a verifier"))
            }
            None => config.with_no_client_auth(),
        };
        let acceptor = TlsAcceptor::from(Arc::new(config.with_single_cert(chain, key).expect("a good certificate")));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it listens");
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        join(stream, upstream).await;
                    }
                });
            }
        });
        TlsFront { address, task }
    }

    /// `https://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// `127.0.0.1:port`.
    pub fn authority(&self) -> String {
        self.address.to_string()
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A proxy that opens tunnels, and remembers where to.
#[derive(Debug)]
pub struct ConnectProxy {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl ConnectProxy {
    /// Starts one.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it listens");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = asked.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(tunnel(stream, log.clone()));
            }
        });
        ConnectProxy { address, asked, task }
    }

    /// `http://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The first line of every request so far.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no holder panics").clone()
    }
}

impl Drop for ConnectProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn tunnel(stream: TcpStream, asked: Arc<Mutex<Vec<String>>>) {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if !matches!(stream.read_line(&mut head).await, Ok(1..)) {
            return;
        }
    }
    let line = head.lines().next().unwrap_or_default().to_owned();
    let target = line.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()?.parse().ok());
    asked.lock().expect("no holder panics").push(line);
    let Some(target) = target else { return };
    if stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.is_ok() {
        join(stream, target).await;
    }
}

async fn join(mut stream: impl AsyncRead + AsyncWrite + Unpin, upstream: SocketAddr) {
    if let Ok(mut upstream) = TcpStream::connect(upstream).await {
        let _ = copy_bidirectional(&mut stream, &mut upstream).await;
    }
}
