//! Opening a request's body: plain, gzip or zstd, with a cap on what comes out.
//!
//! actix can do this itself, but hands every 2 KB to a blocking thread and has no cap on the opened
//! size; a report is opened in a few tens of microseconds on the spot.

use std::borrow::Cow;
use std::cell::RefCell;
use std::io::Read;

use systole_shared::limits::MAX_BODY_BYTES;

/// Largest window of a zstd stream, as a power of two: the 8 MiB that a body may have. Without it a
/// few bytes could ask for 128 MiB.
const MAX_WINDOW_LOG: u32 = 23;

thread_local! {
    /// A decoder's tables, made once per thread instead of once per report.
    static ZSTD_CONTEXT: RefCell<zstd::zstd_safe::DCtx<'static>> = RefCell::new(zstd::zstd_safe::DCtx::create());
}

/// Why a body could not be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// An encoding that is not spoken here.
    #[error("Content-Encoding {0:?} is not supported; use zstd, gzip or none")]
    UnknownEncoding(String),
    /// Larger than the cap when opened.
    #[error("the body is larger than {MAX_BODY_BYTES} bytes when opened; split it")]
    TooLarge,
    /// Not what its encoding says.
    #[error("the body is no complete {encoding} stream")]
    Broken {
        encoding: &'static str,
        #[source]
        source: std::io::Error,
    },
}

/// The body's text. `encoding` is the Content-Encoding header; none means plain.
pub(crate) fn open<'a>(raw: &'a [u8], encoding: Option<&str>) -> Result<Cow<'a, [u8]>, BodyError> {
    let encoding = encoding.map(str::trim).unwrap_or("");
    if encoding.is_empty() || encoding.eq_ignore_ascii_case("identity") {
        if raw.len() > MAX_BODY_BYTES {
            return Err(BodyError::TooLarge);
        }
        Ok(Cow::Borrowed(raw))
    } else if encoding.eq_ignore_ascii_case("zstd") {
        let broken = |source| BodyError::Broken { encoding: "zstd", source };
        let opened = ZSTD_CONTEXT.with_borrow_mut(|context| {
            let mut decoder = zstd::stream::read::Decoder::with_context(raw, context);
            decoder.window_log_max(MAX_WINDOW_LOG)?;
            read_capped(decoder, raw.len())
        });
        opened.map_err(broken)?.ok_or(BodyError::TooLarge).map(Cow::Owned)
    } else if encoding.eq_ignore_ascii_case("gzip") {
        let broken = |source| BodyError::Broken { encoding: "gzip", source };
        let decoder = flate2::read::MultiGzDecoder::new(raw);
        read_capped(decoder, raw.len()).map_err(broken)?.ok_or(BodyError::TooLarge).map(Cow::Owned)
    } else {
        Err(BodyError::UnknownEncoding(encoding.chars().take(64).collect()))
    }
}

/// Reads to the end, or `None` as soon as it is over the cap.
fn read_capped(reader: impl Read, raw_len: usize) -> std::io::Result<Option<Vec<u8>>> {
    // Reports are about five times smaller on the wire.
    let mut opened = Vec::with_capacity((raw_len * 6).min(MAX_BODY_BYTES));
    reader.take(MAX_BODY_BYTES as u64 + 1).read_to_end(&mut opened)?;
    Ok((opened.len() <= MAX_BODY_BYTES).then_some(opened))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn every_encoding_gives_the_same_text() {
        let text = br#"{"bootId":"x"}"#;
        let zstd = zstd::encode_all(&text[..], 1).unwrap();
        assert_eq!(open(text, None).unwrap(), &text[..]);
        assert_eq!(open(text, Some("identity")).unwrap(), &text[..]);
        assert_eq!(open(&gzip(text), Some("gzip")).unwrap(), &text[..]);
        assert_eq!(open(&zstd, Some("ZSTD")).unwrap(), &text[..]);
    }

    #[test]
    fn frames_behind_one_another_are_one_text() {
        let pieces = [&br#"{"bootId":"x","#[..], &br#""reports":[]}"#[..]];
        let zstd = pieces.map(|piece| zstd::encode_all(piece, 1).unwrap()).concat();
        assert_eq!(open(&zstd, Some("zstd")).unwrap(), &pieces.concat()[..]);
        assert_eq!(open(&pieces.map(gzip).concat(), Some("gzip")).unwrap(), &pieces.concat()[..]);
    }

    #[test]
    fn a_bomb_is_stopped_at_the_cap() {
        let zeros = vec![b' '; 64 * 1024 * 1024];
        let zstd = zstd::encode_all(&zeros[..], 1).unwrap();
        assert!(zstd.len() < 100_000);
        assert!(matches!(open(&zstd, Some("zstd")), Err(BodyError::TooLarge)));
        assert!(matches!(open(&gzip(&zeros), Some("gzip")), Err(BodyError::TooLarge)));
        assert!(matches!(open(&zeros, None), Err(BodyError::TooLarge)));
    }

    #[test]
    fn a_torn_stream_is_an_error_and_not_half_a_report() {
        let zstd = zstd::encode_all(&b"[1,2,3,4,5,6,7,8,9]"[..], 1).unwrap();
        assert!(matches!(open(&zstd[..zstd.len() - 3], Some("zstd")), Err(BodyError::Broken { .. })));
        assert_eq!(open(&zstd, Some("zstd")).unwrap(), &b"[1,2,3,4,5,6,7,8,9]"[..], "the next one is not harmed");
        assert!(matches!(open(b"plain", Some("gzip")), Err(BodyError::Broken { .. })));
        assert!(matches!(open(b"", Some("br")), Err(BodyError::UnknownEncoding(_))));
    }
}
