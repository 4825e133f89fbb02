//! Opening a request's body: plain, gzip or zstd, with a cap on what comes out.
//!
//! actix can do this itself, but hands every 2 KB to a blocking thread and has no cap on the opened
//! size; a report is opened in a few tens of microseconds on the spot.
//!
//! A body can consist of several zstd frames or gzip members. Both formats allow it, and the load
//! generator uses it.

use std::cell::RefCell;
use std::io::Read;

use systole_shared::limits::MAX_BODY_BYTES;

/// Largest window of a zstd stream, as a power of two: the 8 MiB that a body may have. Without it a
/// few bytes could ask for 128 MiB.
const MAX_WINDOW_LOG: u32 = 23;

/// A buffer that has grown larger is given back.
const MAX_KEPT_BYTES: usize = 1024 * 1024;

thread_local! {
    /// A decoder's tables, made once per thread instead of once per report.
    static ZSTD_CONTEXT: RefCell<zstd::zstd_safe::DCtx<'static>> = RefCell::new(zstd::zstd_safe::DCtx::create());

    /// Where bodies are opened: fresh memory for each would cost more than reading it.
    static OPENED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
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

/// Hands the body's text to `read`. `encoding` is the Content-Encoding header; none means plain.
pub(crate) fn open<T>(raw: &[u8], encoding: Option<&str>, read: impl FnOnce(&[u8]) -> T) -> Result<T, BodyError> {
    let encoding = encoding.map(str::trim).unwrap_or("");
    if encoding.is_empty() || encoding.eq_ignore_ascii_case("identity") {
        return if raw.len() > MAX_BODY_BYTES { Err(BodyError::TooLarge) } else { Ok(read(raw)) };
    }
    // Not borrowed while `read` runs, so that nothing is said of what it may do.
    let mut opened = OPENED.take();
    opened.clear();
    let result = unpack(raw, encoding, &mut opened).map(|()| read(&opened));
    if opened.capacity() <= MAX_KEPT_BYTES {
        OPENED.set(opened);
    }
    result
}

fn unpack(raw: &[u8], encoding: &str, opened: &mut Vec<u8>) -> Result<(), BodyError> {
    if encoding.eq_ignore_ascii_case("zstd") {
        let broken = |source| BodyError::Broken { encoding: "zstd", source };
        ZSTD_CONTEXT.with_borrow_mut(|context| {
            let mut decoder = zstd::stream::read::Decoder::with_context(raw, context);
            decoder.window_log_max(MAX_WINDOW_LOG).map_err(broken)?;
            read_capped(decoder, opened).map_err(broken)
        })?;
    } else if encoding.eq_ignore_ascii_case("gzip") {
        let broken = |source| BodyError::Broken { encoding: "gzip", source };
        read_capped(flate2::read::MultiGzDecoder::new(raw), opened).map_err(broken)?;
    } else {
        return Err(BodyError::UnknownEncoding(encoding.chars().take(64).collect()));
    }
    if opened.len() > MAX_BODY_BYTES { Err(BodyError::TooLarge) } else { Ok(()) }
}

/// Reads to the end, or to the first byte over the cap.
fn read_capped(reader: impl Read, opened: &mut Vec<u8>) -> std::io::Result<()> {
    reader.take(MAX_BODY_BYTES as u64 + 1).read_to_end(opened).map(|_| ())
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

    fn text_of(raw: &[u8], encoding: Option<&str>) -> Result<Vec<u8>, BodyError> {
        open(raw, encoding, <[u8]>::to_vec)
    }

    #[test]
    fn every_encoding_gives_the_same_text() {
        let text = br#"{"bootId":"x"}"#;
        let zstd = zstd::encode_all(&text[..], 1).unwrap();
        assert_eq!(text_of(text, None).unwrap(), &text[..]);
        assert_eq!(text_of(text, Some("identity")).unwrap(), &text[..]);
        assert_eq!(text_of(&gzip(text), Some("gzip")).unwrap(), &text[..]);
        assert_eq!(text_of(&zstd, Some("ZSTD")).unwrap(), &text[..]);
    }

    #[test]
    fn frames_behind_one_another_are_one_text() {
        let pieces = [&br#"{"bootId":"x","#[..], &br#""reports":[]}"#[..]];
        let zstd = pieces.map(|piece| zstd::encode_all(piece, 1).unwrap()).concat();
        assert_eq!(text_of(&zstd, Some("zstd")).unwrap(), &pieces.concat()[..]);
        assert_eq!(text_of(&pieces.map(gzip).concat(), Some("gzip")).unwrap(), &pieces.concat()[..]);
    }

    #[test]
    fn a_bomb_is_stopped_at_the_cap() {
        let zeros = vec![b' '; 64 * 1024 * 1024];
        let zstd = zstd::encode_all(&zeros[..], 1).unwrap();
        assert!(zstd.len() < 100_000);
        assert!(matches!(text_of(&zstd, Some("zstd")), Err(BodyError::TooLarge)));
        assert!(matches!(text_of(&gzip(&zeros), Some("gzip")), Err(BodyError::TooLarge)));
        assert!(matches!(text_of(&zeros, None), Err(BodyError::TooLarge)));
    }

    #[test]
    fn a_torn_stream_is_an_error_and_not_half_a_report() {
        let zstd = zstd::encode_all(&b"[1,2,3,4,5,6,7,8,9]"[..], 1).unwrap();
        assert!(matches!(text_of(&zstd[..zstd.len() - 3], Some("zstd")), Err(BodyError::Broken { .. })));
        assert_eq!(text_of(&zstd, Some("zstd")).unwrap(), &b"[1,2,3,4,5,6,7,8,9]"[..], "the next one is not harmed");
        assert!(matches!(text_of(b"plain", Some("gzip")), Err(BodyError::Broken { .. })));
        assert!(matches!(text_of(b"", Some("br")), Err(BodyError::UnknownEncoding(_))));
    }
}
