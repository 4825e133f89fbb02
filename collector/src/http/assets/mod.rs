//! The files of pages, out of this program: the dashboard at `/`, and the contract at `/docs`.

mod dashboard;
mod docs;

use std::io::Read;

use actix_web::http::header::{self, AcceptEncoding, Encoding, Header};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use flate2::read::GzDecoder;

pub(crate) use self::dashboard::{get_asset as get_dashboard_asset, get_index};
pub(crate) use self::docs::{get_asset, get_page};

/// A file in the program.
enum Content {
    Plain(&'static [u8]),
    /// Packed by the build.
    Packed {
        gzip: &'static [u8],
        brotli: Option<&'static [u8]>,
    },
}

/// Sends a file in the smallest form that the client accepts.
fn respond(request: &HttpRequest, response: &mut HttpResponseBuilder, name: &str, content: &Content) -> HttpResponse {
    response.content_type(media_type(name)).insert_header((header::VARY, "Accept-Encoding"));
    match content {
        Content::Plain(bytes) => response.body(*bytes),
        Content::Packed { brotli: Some(bytes), .. } if accepts(request, &Encoding::brotli()) => {
            response.insert_header((header::CONTENT_ENCODING, "br")).body(*bytes)
        }
        Content::Packed { gzip, .. } if accepts(request, &Encoding::gzip()) => {
            response.insert_header((header::CONTENT_ENCODING, "gzip")).body(*gzip)
        }
        Content::Packed { gzip, .. } => {
            let mut opened = Vec::new();
            GzDecoder::new(*gzip).read_to_end(&mut opened).expect("what the build has packed opens");
            response.body(opened)
        }
    }
}

fn accepts(request: &HttpRequest, encoding: &Encoding) -> bool {
    let known = [encoding.clone(), Encoding::identity()];
    let accepted = AcceptEncoding::parse(request).ok();
    accepted.and_then(|accepted| accepted.negotiate(known.iter())).as_ref() == Some(encoding)
}

fn media_type(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "text/plain; charset=utf-8",
    }
}
