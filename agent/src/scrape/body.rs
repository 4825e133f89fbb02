//! The body of an answer on its way to the reader: plain or gzip, never larger than its bound.
//!
//! Servers send gzip that was not asked for. A bomb costs no more than a large page: what comes out
//! is counted and not kept.

use std::io::{Error, ErrorKind, Write};

use flate2::write::GzDecoder;

use super::page::{PartialScrape, Scrape};

/// Largest body, after decompression: a Vector of a hundred components writes some 3 MB.
pub(super) const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;

/// The first bytes of every gzip stream: some servers send one without saying so.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// A body that is being read.
pub(super) enum Body<'m> {
    /// Nothing has come yet, and nothing said that it is compressed.
    Unknown(Sink<'m>),
    Plain(Sink<'m>),
    Gzip(Box<GzDecoder<Sink<'m>>>),
}

/// Where the text goes.
pub(super) struct Sink<'m> {
    scrape: PartialScrape<'m>,
    bytes: usize,
}

/// A fault of a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BodyError {
    TooLarge,
    /// It is not the gzip that it should be, or not whole.
    Gzip(String),
}

impl Write for Sink<'_> {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.bytes += text.len();
        if self.bytes > MAX_BODY_BYTES {
            return Err(Error::from(ErrorKind::FileTooLarge));
        }
        self.scrape.push(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl From<Error> for BodyError {
    fn from(error: Error) -> Self {
        match error.kind() {
            ErrorKind::FileTooLarge => BodyError::TooLarge,
            ErrorKind::UnexpectedEof => BodyError::Gzip("it was cut off".to_owned()),
            ErrorKind::WriteZero => BodyError::Gzip("something follows its end".to_owned()),
            _ => BodyError::Gzip(error.to_string()),
        }
    }
}

impl<'m> Body<'m> {
    /// A body whose header says that it is gzip, or says nothing.
    pub(super) fn new(scrape: PartialScrape<'m>, encoding: Option<&str>) -> Self {
        let sink = Sink { scrape, bytes: 0 };
        match encoding {
            Some(_) => Body::Gzip(Box::new(GzDecoder::new(sink))),
            None => Body::Unknown(sink),
        }
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    ///
    /// When the text is too large, or is not the gzip that it should be.
    pub(super) fn push(self, chunk: &[u8]) -> Result<Self, BodyError> {
        let mut body = match self {
            Body::Unknown(sink) if chunk.starts_with(&GZIP_MAGIC) => Body::Gzip(Box::new(GzDecoder::new(sink))),
            Body::Unknown(sink) if !chunk.is_empty() => Body::Plain(sink),
            other => other,
        };
        match &mut body {
            Body::Unknown(sink) | Body::Plain(sink) => sink.write_all(chunk)?,
            Body::Gzip(decoder) => decoder.write_all(chunk)?,
        }
        Ok(body)
    }

    /// The body has ended. Gives what was read, and whether it ends with a whole line.
    ///
    /// # Errors
    ///
    /// When a gzip stream is not whole.
    pub(super) fn finish(self) -> Result<(Scrape, bool), BodyError> {
        let (sink, is_whole) = match self {
            Body::Unknown(sink) | Body::Plain(sink) => (sink, false),
            // Its end has a checksum.
            Body::Gzip(decoder) => (decoder.finish()?, true),
        };
        let is_whole = is_whole || sink.scrape.is_at_line_end();
        Ok((sink.scrape.finish(), is_whole))
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    const PAGE: &[u8] = b"component_sent_events_total{component_id=\"out\",component_kind=\"sink\"} 7\n";

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn read(chunks: &[&[u8]], encoding: Option<&str>) -> Result<u64, BodyError> {
        let mapping = crate::config::vector_mapping();
        let body = Body::new(PartialScrape::new(&mapping), encoding);
        let body = chunks.iter().try_fold(body, |body, chunk| body.push(chunk))?;
        body.finish().map(|(scrape, _)| scrape.samples)
    }

    #[test]
    fn gzip_is_read_whether_it_was_announced_or_not() {
        let zipped = gzip(PAGE);
        assert_eq!(read(&[PAGE], None), Ok(1));
        assert_eq!(read(&[&zipped], Some("gzip")), Ok(1));
        assert_eq!(read(&[&zipped[..7], &zipped[7..]], None), Ok(1));
    }

    #[test]
    fn gzip_that_is_not_whole_is_no_reading() {
        let zipped = gzip(PAGE);
        for chunks in [[&zipped[..zipped.len() - 3], b""], [&zipped, b"more"], [PAGE, b""]] {
            let result = read(&chunks, Some("gzip"));
            assert!(matches!(result, Err(BodyError::Gzip(_))), "{result:?}");
        }
    }

    #[test]
    fn a_bomb_is_too_large() {
        let bomb = gzip(&vec![b'\n'; MAX_BODY_BYTES + 1]);
        assert!(bomb.len() < 100_000);
        assert_eq!(read(&[&bomb], Some("gzip")), Err(BodyError::TooLarge));
    }
}
