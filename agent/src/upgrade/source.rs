//! Where a new program comes from: a file of this host, or an https address.
//!
//! A redirect to anything but https is refused as the address itself would be.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, Url};
use tokio::time::timeout;

use crate::http_client;
use crate::model::tls::TlsFiles;

/// The largest program. A release is some 10 MB, a build with symbols several times that.
pub(super) const MAX_PROGRAM_BYTES: u64 = 256 * 1024 * 1024;

/// How long the whole download may take: a slow line, but not for ever.
const DOWNLOAD_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// How long the download may stand still.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Redirects that are followed: a release page needs two or three.
const MAX_REDIRECTS: usize = 5;

/// Read at a time from a file.
const CHUNK_BYTES: usize = 64 * 1024;

/// Where a program comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A file of this host.
    File(PathBuf),
    /// An https address.
    Url(Url),
}

/// Why a program cannot be fetched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// Not https.
    #[error("{0} is not https: a program is fetched over https only, also after a redirect")]
    NotHttps(String),
    /// No address.
    #[error("invalid URL ({0}), expected https://HOST/PATH")]
    Url(String),
    /// The file cannot be read.
    #[error("cannot read {}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The place beside the program cannot be written.
    #[error("cannot write {}: {source}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Too large for a program.
    #[error("the program is larger than {MAX_PROGRAM_BYTES} bytes")]
    TooLarge,
    /// The server does not have it.
    #[error("{url} answered {status}")]
    Status {
        /// The address.
        url: String,
        /// What it answered.
        status: u16,
    },
    /// The request failed.
    #[error("cannot fetch {url}: {reason}")]
    Request {
        /// The address.
        url: String,
        /// Why.
        reason: String,
    },
}

/// Called with how many bytes are there, and how many there will be.
pub(super) type Progress<'p> = &'p mut (dyn FnMut(u64, Option<u64>) + Send);

impl Source {
    /// A URL if it has a scheme, else a path.
    ///
    /// # Errors
    /// When it is a URL that is not https.
    pub(crate) fn parse(text: &str) -> Result<Self, FetchError> {
        if !text.contains("://") {
            return Ok(Source::File(PathBuf::from(text)));
        }
        let url = Url::parse(text).map_err(|error| FetchError::Url(error.to_string()))?;
        if url.scheme() != "https" {
            return Err(FetchError::NotHttps(text.to_owned()));
        }
        Ok(Source::Url(url))
    }

    /// Writes the program into `staged`, whose path is for errors.
    ///
    /// # Errors
    /// When it cannot be had as a whole.
    pub(super) async fn fetch(
        &self,
        tls: &TlsFiles,
        staged: File,
        path: &Path,
        progress: Progress<'_>,
    ) -> Result<(), FetchError> {
        let mut sink = Sink { file: staged, path, bytes: 0 };
        match self {
            Source::File(from) => copy(from, &mut sink, progress)?,
            Source::Url(url) => {
                let all = download(url, tls, &mut sink, progress);
                let too_slow = || failed(url, format!("not done after {} s", DOWNLOAD_TIMEOUT.as_secs()));
                timeout(DOWNLOAD_TIMEOUT, all).await.map_err(|_| too_slow())??;
            }
        }
        sink.finish()
    }
}

/// The file that is written, and its limit.
struct Sink<'p> {
    file: File,
    path: &'p Path,
    bytes: u64,
}

impl Sink<'_> {
    fn write(&mut self, chunk: &[u8]) -> Result<(), FetchError> {
        self.bytes += chunk.len() as u64;
        if self.bytes > MAX_PROGRAM_BYTES {
            return Err(FetchError::TooLarge);
        }
        self.file.write_all(chunk).map_err(|source| FetchError::Write { path: self.path.to_owned(), source })
    }

    fn finish(self) -> Result<(), FetchError> {
        self.file.sync_all().map_err(|source| FetchError::Write { path: self.path.to_owned(), source })
    }
}

fn copy(from: &Path, sink: &mut Sink<'_>, progress: Progress<'_>) -> Result<(), FetchError> {
    let fault = |source| FetchError::Read { path: from.to_owned(), source };
    let mut file = File::open(from).map_err(fault)?;
    let whole = file.metadata().map_err(fault)?;
    if !whole.is_file() {
        return Err(fault(io::Error::other("it is no file")));
    }
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match file.read(&mut chunk).map_err(fault)? {
            0 => return Ok(()),
            length => sink.write(&chunk[..length])?,
        }
        progress(sink.bytes, Some(whole.len()));
    }
}

async fn download(url: &Url, tls: &TlsFiles, sink: &mut Sink<'_>, progress: Progress<'_>) -> Result<(), FetchError> {
    http_client::install_tls();
    let client = client(tls).map_err(|reason| failed(url, reason))?;
    let mut answer = client.get(url.clone()).send().await.map_err(|error| refusal(url, &error))?;
    if !answer.status().is_success() {
        return Err(FetchError::Status { url: answer.url().to_string(), status: answer.status().as_u16() });
    }
    let whole = answer.content_length();
    if whole.is_some_and(|bytes| bytes > MAX_PROGRAM_BYTES) {
        return Err(FetchError::TooLarge);
    }
    while let Some(chunk) = answer.chunk().await.map_err(|error| refusal(url, &error))? {
        sink.write(&chunk)?;
        progress(sink.bytes, whole);
    }
    match whole {
        Some(whole) if whole != sink.bytes => Err(failed(url, format!("only {} of {whole} bytes came", sink.bytes))),
        _ => Ok(()),
    }
}

fn client(tls: &TlsFiles) -> Result<Client, String> {
    let builder = http_client::for_downloads(tls).map_err(|error| error.to_string())?;
    let builder = builder.https_only(true).redirect(Policy::custom(follow)).read_timeout(STALL_TIMEOUT);
    builder.build().map_err(|error| http_client::innermost(&error))
}

/// The redirect of a request: to https, and not for ever.
fn follow(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    if attempt.url().scheme() != "https" {
        let target = FetchError::NotHttps(attempt.url().to_string());
        return attempt.error(target);
    }
    if attempt.previous().len() > MAX_REDIRECTS {
        return attempt.error(format!("more than {MAX_REDIRECTS} redirects"));
    }
    attempt.follow()
}

fn refusal(url: &Url, error: &reqwest::Error) -> FetchError {
    failed(url, http_client::innermost(error))
}

fn failed(url: &Url, reason: String) -> FetchError {
    FetchError::Request { url: url.to_string(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_must_be_https() {
        assert!(matches!(Source::parse("https://a.example/b"), Ok(Source::Url(_))));
        assert_eq!(Source::parse("./agent").unwrap(), Source::File("./agent".into()));
        for wrong in ["http://a.example/b", "ftp://a.example/b", "file:///b"] {
            assert!(matches!(Source::parse(wrong), Err(FetchError::NotHttps(_))), "{wrong}");
        }
    }

    #[tokio::test]
    async fn file_is_copied_and_its_size_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        std::fs::write(&from, vec![7; 100_000]).unwrap();
        let source = Source::File(from.clone());
        let mut seen = 0;
        let mut progress = |bytes, whole| {
            seen = bytes;
            assert_eq!(whole, Some(100_000));
        };
        source.fetch(&TlsFiles::default(), File::create(&to).unwrap(), &to, &mut progress).await.unwrap();
        assert_eq!((seen, std::fs::read(&to).unwrap().len()), (100_000, 100_000));
        File::options().write(true).open(&from).unwrap().set_len(MAX_PROGRAM_BYTES + 1).unwrap();
        let mut nothing = |_, _| ();
        let error = source.fetch(&TlsFiles::default(), File::create(&to).unwrap(), &to, &mut nothing).await;
        assert!(matches!(error, Err(FetchError::TooLarge)));
    }
}
