//! Fetches the body of a metrics endpoint, with a limit on time and size, and reads it as it comes.

use std::time::Duration;

use reqwest::Response;
use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE};

use super::body::{Body, BodyError, MAX_BODY_BYTES};
use super::page::{PartialScrape, Scrape};
use crate::model::mapping::Mapping;
use crate::model::pipeline::MetricsConfig;

/// Longest that one scrape may take.
pub(crate) const SCRAPE_TIMEOUT: Duration = Duration::from_secs(4);

/// Fetches metrics for every pipeline.
pub(crate) struct Scraper {
    client: reqwest::Client,
}

/// An error of a scrape. The text goes to the collector as `scrapeError`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScrapeError {
    /// No whole answer in time.
    #[error("no answer within {} s", SCRAPE_TIMEOUT.as_secs())]
    TooSlow,
    /// No server, or the connection broke.
    #[error("{}", root_cause(.0))]
    Connection(#[source] reqwest::Error),
    /// An answer other than 200.
    #[error("the endpoint answered {0}")]
    Status(reqwest::StatusCode),
    /// The body is too large.
    #[error("the answer is larger than {MAX_BODY_BYTES} bytes")]
    TooLarge,
    /// The body ended in the middle of a line, and nothing said how long it was to be.
    #[error("the answer was cut off")]
    CutOff,
    /// A body without any sample: another page than a metrics endpoint's, or an endpoint that has
    /// nothing yet. Taken as a reading it would say that every series has vanished.
    #[error("the answer contains no metrics, expected {expected}")]
    NoMetrics {
        /// What a page should have.
        expected: String,
    },
    /// A web page, such as one to log in.
    #[error("the answer is a web page without metrics, expected {expected}")]
    WebPage {
        /// What a page should have.
        expected: String,
    },
    /// Metrics of something else, or under other names. Zeros would be made up.
    #[error(
        "none of the answer's {samples} samples is a metric that the mapping `{mapping}` knows, expected {expected}"
    )]
    NoMappedMetrics {
        /// The mapping.
        mapping: String,
        /// What the page has.
        samples: u64,
        /// What a page should have.
        expected: String,
    },
    /// A compression that was not asked for, and is not understood.
    #[error("the answer is compressed with `{0}`, expected plain text or gzip")]
    Encoding(String),
    /// The body is not the gzip that it should be.
    #[error("cannot decompress the answer: {0}")]
    Gzip(String),
}

impl From<BodyError> for ScrapeError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge => ScrapeError::TooLarge,
            BodyError::Gzip(cause) => ScrapeError::Gzip(cause),
        }
    }
}

/// A header's value in lower case.
fn header(response: &Response, name: reqwest::header::HeaderName) -> Option<String> {
    Some(response.headers().get(name)?.to_str().ok()?.trim().to_ascii_lowercase())
}

/// What the body is compressed with, if it is.
fn encoding(response: &Response) -> Result<Option<String>, ScrapeError> {
    match header(response, CONTENT_ENCODING) {
        None => Ok(None),
        Some(text) if text.is_empty() || text == "identity" => Ok(None),
        Some(text) if text == "gzip" || text == "x-gzip" => Ok(Some(text)),
        Some(other) => Err(ScrapeError::Encoding(other)),
    }
}

/// A reading without any metric of the mapping is no reading: its zeros would be made up.
fn check(scrape: Scrape, mapping: &Mapping, is_web_page: bool) -> Result<Scrape, ScrapeError> {
    if scrape.mapped > 0 {
        return Ok(scrape);
    }
    let expected = mapping.expected();
    Err(match scrape.samples {
        _ if is_web_page => ScrapeError::WebPage { expected },
        0 => ScrapeError::NoMetrics { expected },
        samples => ScrapeError::NoMappedMetrics { mapping: mapping.name().to_owned(), samples, expected },
    })
}

/// The innermost cause: "connection refused" says more than "error sending request".
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

impl Scraper {
    /// Makes the one that all pipelines share.
    pub(crate) fn new(client: reqwest::Client) -> Self {
        Scraper { client }
    }

    /// Scrapes one endpoint.
    pub(crate) async fn scrape(&self, endpoint: &MetricsConfig) -> Result<Scrape, ScrapeError> {
        match tokio::time::timeout(SCRAPE_TIMEOUT, self.fetch(endpoint)).await {
            Ok(scrape) => scrape,
            Err(_) => Err(ScrapeError::TooSlow),
        }
    }

    async fn fetch(&self, endpoint: &MetricsConfig) -> Result<Scrape, ScrapeError> {
        let mut request = self.client.get(endpoint.url.clone());
        if let Some(token) = &endpoint.bearer_token {
            request = request.header(AUTHORIZATION, format!("Bearer {}", token.reveal()));
        }
        let mut response = request.send().await.map_err(ScrapeError::Connection)?;
        if response.status() != reqwest::StatusCode::OK {
            return Err(ScrapeError::Status(response.status()));
        }
        let length_is_known =
            response.content_length().is_some() || response.headers().contains_key("transfer-encoding");
        let is_web_page = header(&response, CONTENT_TYPE).is_some_and(|text| text.starts_with("text/html"));
        let mut body = Body::new(PartialScrape::new(&endpoint.mapping), encoding(&response)?.as_deref());
        while let Some(chunk) = response.chunk().await.map_err(ScrapeError::Connection)? {
            body = body.push(&chunk)?;
        }
        // With half a body, series would vanish and count whole when they return.
        let (scrape, is_whole) = body.finish()?;
        if !length_is_known && !is_whole {
            return Err(ScrapeError::CutOff);
        }
        let mut scrape = check(scrape, &endpoint.mapping, is_web_page)?;
        if endpoint.count_internal {
            scrape.count_internal();
        }
        Ok(scrape)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn endpoint() -> (TcpListener, MetricsConfig) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/metrics", listener.local_addr().unwrap()).parse().unwrap();
        (
            listener,
            MetricsConfig {
                url,
                bearer_token: None,
                mapping: Arc::new(crate::config::vector_mapping()),
                count_internal: false,
            },
        )
    }

    #[tokio::test]
    async fn silent_endpoints_do_not_block_others() {
        crate::http_client::install_tls();
        let scraper = Arc::new(Scraper::new(crate::http_client::for_scrapes(false).unwrap()));
        let (_silent, hanging) = endpoint().await;
        for _ in 0..64 {
            let (scraper, hanging) = (scraper.clone(), hanging.clone());
            tokio::spawn(async move { scraper.scrape(&hanging).await.map(|_| ()) });
        }
        let (listener, good) = endpoint().await;
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 1024]).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 17\r\n\r\nuptime_seconds 1\n").await.unwrap();
        });
        // Those before it have begun, and would hold it up for the whole limit.
        tokio::task::yield_now().await;
        let scrape = tokio::time::timeout(SCRAPE_TIMEOUT / 2, scraper.scrape(&good)).await.unwrap();
        assert_eq!(scrape.unwrap().samples, 1);
    }
}
