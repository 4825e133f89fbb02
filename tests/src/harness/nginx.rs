//! nginx before a collector, as people put it there.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::Command;

use super::ports::free_address;
use super::process::Process;
use super::wait::{SOON, eventually};

/// A running nginx with a separate directory and port.
#[derive(Debug)]
pub struct Nginx {
    _process: Process,
    _directory: TempDir,
    address: SocketAddr,
}

impl Nginx {
    /// Before `upstream`, with its defaults but for these lines in its block `http`.
    pub async fn start(upstream: SocketAddr, settings: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("systole-nginx-").tempdir().expect("a directory");
        let address = free_address();
        let config = directory.path().join("nginx.conf");
        std::fs::write(&config, text_of(directory.path(), address, upstream, settings)).expect("a file");
        let mut command = Command::new(program());
        command.arg("-p").arg(directory.path()).arg("-c").arg(&config).args(["-e", "stderr"]);
        let mut process = Process::start("nginx", &mut command, &directory.path().join("nginx.log"));
        eventually("nginx listens", SOON, async || {
            let ended = process.exit_status();
            assert!(ended.is_none(), "nginx ended at its start: {ended:?}");
            TcpStream::connect(address).await.ok()
        })
        .await;
        Nginx { _process: process, _directory: directory, address }
    }

    /// `http://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// Where packages put it; a user's path may not have it.
fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories =
        std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")]);
    let program = directories.map(|directory| directory.join("nginx")).find(|program| program.is_file());
    program.expect("nginx is missing: install the package nginx, or run `make setup-test`")
}

/// One process, so that killing it ends everything; it writes only into its directory.
fn text_of(directory: &Path, address: SocketAddr, upstream: SocketAddr, settings: &str) -> String {
    let directory = directory.display();
    let room = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {directory}/{name};\n"))
        .concat();
    format!(
        "daemon off;\nmaster_process off;\npid {directory}/nginx.pid;\nevents {{}}\nhttp {{\naccess_log off;\n{room}{settings}\n\
         server {{\nlisten {address};\nlocation / {{ proxy_pass http://{upstream}; }}\n}}\n}}\n"
    )
}
