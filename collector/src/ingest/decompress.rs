//! Decompresses a request's body (plain, gzip or zstd) up to a size limit.
//!
//! actix can do this itself, but hands every 2 KB to a blocking thread and has no cap on the opened
//! size; a report is opened in a few tens of microseconds on the spot.
//!
//! A body can consist of several zstd frames or gzip members. Both formats allow it, and the load
//! generator uses it. Their number is bounded: one without content takes a few bytes of the body, and as
//! much work as a report.

use std::cell::RefCell;
use std::io::{ErrorKind, Read};

use systole_shared::limits::MAX_BODY_BYTES;

/// Largest window of a zstd stream, as a power of two: the 8 MiB that a body may have. Without it a
/// few bytes could ask for 128 MiB.
const MAX_WINDOW_LOG: u32 = 23;

/// Frames or members of one body: those that pack blocks of 64 KiB on their own need half of it.
const MAX_PARTS: usize = 256;

/// Bodies up to this size are opened and read where they arrive, in a few milliseconds. A report of 100
/// pipelines with 5 components each has about half of it.
pub(crate) const SHORT_BODY_BYTES: usize = 256 * 1024;

/// A buffer that has grown larger is freed.
const MAX_KEPT_BYTES: usize = 1024 * 1024;

thread_local! {
    /// A decoder's tables, made once per thread instead of once per report.
    static ZSTD_CONTEXT: RefCell<zstd::zstd_safe::DCtx<'static>> = RefCell::new(zstd::zstd_safe::DCtx::create());

    /// Where bodies are opened: fresh memory for each would cost more than reading it.
    static OPENED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// An error of decompressing a body.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// An encoding that is not spoken here.
    #[error("Content-Encoding {0:?} is not supported; use zstd, gzip or none")]
    UnknownEncoding(String),
    /// Larger than the cap when opened.
    #[error("the body is larger than {MAX_BODY_BYTES} bytes after decompression; split it")]
    TooLarge,
    /// So many parts that opening them is the attack.
    #[error("the body has more than {MAX_PARTS} zstd frames or gzip members; send one")]
    TooManyParts,
    /// Not what its encoding says.
    #[error("the body is not a complete {encoding} stream")]
    Broken {
        encoding: &'static str,
        #[source]
        source: std::io::Error,
    },
}

/// Hands the body's text to `read`. `encoding` is the Content-Encoding header; none means plain.
///
/// # Errors
///
/// When the body is not what its encoding says, or is beyond a bound.
pub(crate) fn open<T>(raw: &[u8], encoding: Option<&str>, read: impl FnOnce(&[u8]) -> T) -> Result<T, BodyError> {
    open_up_to(MAX_BODY_BYTES, raw, encoding, read)?.ok_or(BodyError::TooLarge)
}

/// The same for a text of at most [`SHORT_BODY_BYTES`]; `None` when there is more of it.
///
/// # Errors
///
/// As [`open`].
pub(crate) fn open_short<T>(
    raw: &[u8],
    encoding: Option<&str>,
    read: impl FnOnce(&[u8]) -> T,
) -> Result<Option<T>, BodyError> {
    open_up_to(SHORT_BODY_BYTES, raw, encoding, read)
}

fn open_up_to<T>(
    cap: usize,
    raw: &[u8],
    encoding: Option<&str>,
    read: impl FnOnce(&[u8]) -> T,
) -> Result<Option<T>, BodyError> {
    let encoding = encoding.map(str::trim).unwrap_or("");
    if encoding.is_empty() || encoding.eq_ignore_ascii_case("identity") {
        return Ok((raw.len() <= cap).then(|| read(raw)));
    }
    // Not borrowed while `read` runs, so that nothing is said of what it may do.
    let mut opened = OPENED.take();
    opened.clear();
    let result = unpack(raw, encoding, cap, &mut opened);
    let result = result.map(|()| (opened.len() <= cap).then(|| read(&opened)));
    if opened.capacity() <= MAX_KEPT_BYTES {
        OPENED.set(opened);
    }
    result
}

/// Opens a body, or at least one byte more than `cap` of it.
fn unpack(raw: &[u8], encoding: &str, cap: usize, opened: &mut Vec<u8>) -> Result<(), BodyError> {
    if encoding.eq_ignore_ascii_case("zstd") {
        check_frames(raw)?;
        let broken = |source| BodyError::Broken { encoding: "zstd", source };
        ZSTD_CONTEXT.with_borrow_mut(|context| {
            let mut decoder = zstd::stream::read::Decoder::with_context(raw, context);
            decoder.window_log_max(MAX_WINDOW_LOG).map_err(broken)?;
            read_capped(decoder, cap, opened).map_err(broken)
        })
    } else if encoding.eq_ignore_ascii_case("gzip") {
        unpack_members(raw, cap, opened)
    } else {
        Err(BodyError::UnknownEncoding(encoding.chars().take(64).collect()))
    }
}

/// Counts frames by their headers. Other data is left to the decoder, which returns the error.
fn check_frames(mut raw: &[u8]) -> Result<(), BodyError> {
    let mut frames = 0;
    while let Ok(len) = zstd::zstd_safe::find_frame_compressed_size(raw)
        && len > 0
        && let Some(rest) = raw.get(len..)
    {
        frames += 1;
        if frames > MAX_PARTS {
            return Err(BodyError::TooManyParts);
        }
        raw = rest;
    }
    Ok(())
}

fn unpack_members(raw: &[u8], cap: usize, opened: &mut Vec<u8>) -> Result<(), BodyError> {
    let broken = |source| BodyError::Broken { encoding: "gzip", source };
    let mut rest = raw;
    for _ in 0..MAX_PARTS {
        let mut member = flate2::bufread::GzDecoder::new(rest);
        read_capped(&mut member, cap.saturating_sub(opened.len()), opened).map_err(broken)?;
        rest = member.into_inner();
        if rest.is_empty() || opened.len() > cap {
            return if raw.is_empty() { Err(broken(ErrorKind::UnexpectedEof.into())) } else { Ok(()) };
        }
    }
    Err(BodyError::TooManyParts)
}

/// Reads to the end, or to the first byte over the cap.
fn read_capped(reader: impl Read, cap: usize, opened: &mut Vec<u8>) -> std::io::Result<()> {
    reader.take(cap as u64 + 1).read_to_end(opened).map(|_| ())
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
    fn encodings_decompress_to_the_same_text() {
        let text = br#"{"bootId":"x"}"#;
        let zstd = zstd::encode_all(&text[..], 1).unwrap();
        assert_eq!(text_of(text, None).unwrap(), &text[..]);
        assert_eq!(text_of(text, Some("identity")).unwrap(), &text[..]);
        assert_eq!(text_of(&gzip(text), Some("gzip")).unwrap(), &text[..]);
        assert_eq!(text_of(&zstd, Some("ZSTD")).unwrap(), &text[..]);
    }

    #[test]
    fn consecutive_frames_are_one_text() {
        let pieces = [&br#"{"bootId":"x","#[..], &br#""reports":[]}"#[..]];
        let zstd = pieces.map(|piece| zstd::encode_all(piece, 1).unwrap()).concat();
        assert_eq!(text_of(&zstd, Some("zstd")).unwrap(), &pieces.concat()[..]);
        assert_eq!(text_of(&pieces.map(gzip).concat(), Some("gzip")).unwrap(), &pieces.concat()[..]);
    }

    #[test]
    fn decompression_bomb_is_stopped_at_the_cap() {
        let zeros = vec![b' '; 64 * 1024 * 1024];
        let zstd = zstd::encode_all(&zeros[..], 1).unwrap();
        assert!(zstd.len() < 100_000);
        assert!(matches!(text_of(&zstd, Some("zstd")), Err(BodyError::TooLarge)));
        assert!(matches!(text_of(&gzip(&zeros), Some("gzip")), Err(BodyError::TooLarge)));
        assert!(matches!(text_of(&zeros, None), Err(BodyError::TooLarge)));
    }

    #[test]
    fn a_body_of_many_empty_parts_is_refused() {
        for (encoding, empty) in [("gzip", gzip(b"")), ("zstd", zstd::encode_all(&b""[..], 1).unwrap())] {
            let text = if encoding == "gzip" { gzip(b"[]") } else { zstd::encode_all(&b"[]"[..], 1).unwrap() };
            let body = |parts: usize| [empty.repeat(parts - 1), text.clone()].concat();
            assert_eq!(text_of(&body(MAX_PARTS), Some(encoding)).unwrap(), b"[]");
            let refused = text_of(&body(MAX_PARTS + 1), Some(encoding));
            assert!(matches!(refused, Err(BodyError::TooManyParts)), "{encoding}: {refused:?}");
        }
        // A frame that is to be skipped has eight bytes and no content.
        let skipped = [0x50, 0x2A, 0x4D, 0x18, 0, 0, 0, 0].repeat(MAX_PARTS + 1);
        assert!(matches!(text_of(&skipped, Some("zstd")), Err(BodyError::TooManyParts)));
        assert!(matches!(text_of(b"", Some("gzip")), Err(BodyError::Broken { .. })));
    }

    #[test]
    fn a_long_body_is_known_before_it_is_opened_whole() {
        let short = vec![b' '; SHORT_BODY_BYTES];
        let long = vec![b' '; SHORT_BODY_BYTES + 1];
        let zstd = |text: &[u8]| zstd::encode_all(text, 1).unwrap();
        for (encoding, short, long) in [
            (None, short.clone(), long.clone()),
            (Some("gzip"), gzip(&short), gzip(&long)),
            (Some("zstd"), zstd(&short), zstd(&long)),
        ] {
            assert_eq!(open_short(&short, encoding, <[u8]>::len).unwrap(), Some(SHORT_BODY_BYTES));
            assert_eq!(open_short(&long, encoding, <[u8]>::len).unwrap(), None);
            assert_eq!(open(&long, encoding, <[u8]>::len).unwrap(), SHORT_BODY_BYTES + 1);
        }
    }

    #[test]
    fn torn_stream_is_an_error() {
        let zstd = zstd::encode_all(&b"[1,2,3,4,5,6,7,8,9]"[..], 1).unwrap();
        assert!(matches!(text_of(&zstd[..zstd.len() - 3], Some("zstd")), Err(BodyError::Broken { .. })));
        assert_eq!(text_of(&zstd, Some("zstd")).unwrap(), &b"[1,2,3,4,5,6,7,8,9]"[..], "the next one is not harmed");
        assert!(matches!(text_of(b"plain", Some("gzip")), Err(BodyError::Broken { .. })));
        assert!(matches!(text_of(b"", Some("br")), Err(BodyError::UnknownEncoding(_))));
    }
}
