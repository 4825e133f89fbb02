//! Lists as JSON or as CSV (RFC 4180), as the caller wants them.
//!
//! A row is made from the JSON of its item, so that both have the same content. Texts are not changed, even
//! if a spreadsheet could take one for a formula: this is data for programs first.
//!
//! The columns are listed by hand, so that an empty list has a header.

use actix_web::http::header::{self, Accept, AcceptEncoding, Encoding, Header};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use flate2::Compression;
use flate2::write::GzEncoder;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde_json::Value;

use super::params::{Format, InFormat, QueryString};
use crate::http::dto::fleet::CountedPage;
use crate::http::dto::{History, Page};
use crate::http::error::ApiError;

/// Characters that need no escape in a query string.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// An item that can be a row.
pub(crate) trait Row: Serialize {
    /// The names of its JSON, in the order of the columns.
    const COLUMNS: &'static [&'static str];
}

/// A request for a list.
#[derive(Debug)]
pub(crate) struct ListRequest {
    format: Format,
    /// The request's own address without `cursor`, to which the next one is added.
    address: String,
    accepts_gzip: bool,
}

impl ListRequest {
    /// Selects the format of the list: `format`, else the Accept header.
    ///
    /// # Errors
    ///
    /// 400 when the query string cannot be read.
    pub(crate) fn new(request: &HttpRequest, asked: &InFormat) -> Result<Self, ApiError> {
        let format = asked.format.unwrap_or_else(|| accepted(request));
        let encode = |text| utf8_percent_encode(text, QUERY);
        let query = QueryString::of(request)?;
        let query = query.pairs().filter(|(key, _)| *key != "cursor");
        let query: String = query.map(|(key, value)| format!("{}={}&", encode(key), encode(value))).collect();
        let address = format!("{}?{query}", request.uri().path());
        Ok(ListRequest { format, address, accepts_gzip: accepts_gzip(request) })
    }

    /// Answers with a page of what `name` says.
    pub(crate) fn page<T: Row>(&self, name: &str, page: &Page<T>) -> Result<HttpResponse, ApiError> {
        match self.format {
            Format::Json => Ok(answer().json(page)),
            Format::Csv => self.csv(name, &page.items, page.next.as_deref()),
        }
    }

    /// Answers with a page of what `name` says, and how many there are.
    pub(crate) fn counted_page<T: Row>(&self, name: &str, page: &CountedPage<T>) -> Result<HttpResponse, ApiError> {
        match self.format {
            Format::Json => write_compressed(answer(), self.accepts_gzip, page),
            Format::Csv => self.csv(name, &page.items, page.next.as_deref()),
        }
    }

    /// Responds with the history of `name`. The file name contains the step.
    pub(crate) fn history<T: Row>(&self, name: &str, history: &History<T>) -> Result<HttpResponse, ApiError> {
        match self.format {
            Format::Json => Ok(answer().json(history)),
            Format::Csv => self.csv(&format!("{name}-{}s", history.step), &history.items, history.next.as_deref()),
        }
    }

    fn csv<T: Row>(&self, name: &str, items: &[T], next: Option<&str>) -> Result<HttpResponse, ApiError> {
        let mut response = answer();
        response.insert_header((header::CONTENT_TYPE, "text/csv; charset=utf-8; header=present"));
        response.insert_header((header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}.csv\"")));
        if let Some(next) = next {
            let cursor = utf8_percent_encode(next, QUERY);
            response.insert_header((header::LINK, format!("<{}cursor={cursor}>; rel=\"next\"", self.address)));
        }
        Ok(response.body(write(items).map_err(ApiError::unwritable)?))
    }
}

/// JSON of a whole fleet: compressed, if the client accepts that.
///
/// # Errors
///
/// When it cannot be written.
pub(crate) fn compressed(request: &HttpRequest, body: &impl Serialize) -> Result<HttpResponse, ApiError> {
    write_compressed(HttpResponse::Ok(), accepts_gzip(request), body)
}

fn accepts_gzip(request: &HttpRequest) -> bool {
    let accepts = AcceptEncoding::parse(request).ok();
    accepts.and_then(|accepts| accepts.negotiate([Encoding::gzip()].iter())) == Some(Encoding::gzip())
}

fn write_compressed(
    mut response: HttpResponseBuilder,
    is_gzip: bool,
    body: &impl Serialize,
) -> Result<HttpResponse, ApiError> {
    response.append_header((header::VARY, "Accept-Encoding")).content_type("application/json");
    if !is_gzip {
        return Ok(response.json(body));
    }
    // The fastest level: it takes some milliseconds for ten thousand nodes, and makes a third of them.
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    serde_json::to_writer(&mut encoder, body).map_err(ApiError::unwritable)?;
    let bytes = encoder.finish().map_err(ApiError::unwritable)?;
    Ok(response.insert_header((header::CONTENT_ENCODING, "gzip")).body(bytes))
}

/// One address has two forms.
fn answer() -> HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    response.insert_header((header::VARY, "Accept"));
    response
}

/// CSV only if the Accept header names it before JSON.
fn accepted(request: &HttpRequest) -> Format {
    let ranked = Accept::parse(request).map(|accept| accept.ranked()).unwrap_or_default();
    let known = ranked.iter().find_map(|media| match media.essence_str() {
        "text/csv" => Some(Format::Csv),
        "application/json" | "application/*" | "*/*" => Some(Format::Json),
        _ => None,
    });
    known.unwrap_or(Format::Json)
}

fn write<T: Row>(items: &[T]) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    writer.write_record(T::COLUMNS)?;
    for item in items {
        let item = serde_json::to_value(item).map_err(std::io::Error::from)?;
        writer.write_record(T::COLUMNS.iter().map(|column| cell(item.get(column))))?;
    }
    writer.into_inner().map_err(|error| error.into_error().into())
}

/// Unknown values are empty, and nested values stay JSON.
fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[derive(Serialize)]
    struct Item {
        text: &'static str,
        number: Option<f64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        parts: Option<Vec<i64>>,
    }

    impl Row for Item {
        const COLUMNS: &'static [&'static str] = &["number", "text", "parts"];
    }

    #[test]
    fn csv_cells_are_quoted_when_needed() {
        let items = [
            Item { text: "=1+1, \"two\"\nlines", number: None, parts: None },
            Item { text: "plain", number: Some(0.5), parts: Some(vec![1, 2]) },
        ];
        let text = String::from_utf8(write(&items).unwrap()).unwrap();
        assert_eq!(text, "number,text,parts\r\n,\"=1+1, \"\"two\"\"\nlines\",\r\n0.5,plain,\"[1,2]\"\r\n");
        assert_eq!(write::<Item>(&[]).unwrap(), b"number,text,parts\r\n");
    }

    #[test]
    fn csv_needs_precedence_over_json_in_accept() {
        for (accept, format) in [
            ("text/csv", Format::Csv),
            ("text/csv, */*;q=0.1", Format::Csv),
            ("application/json, text/csv;q=0.5", Format::Json),
            ("text/html, */*", Format::Json),
            ("nonsense", Format::Json),
        ] {
            let request = TestRequest::default().insert_header((header::ACCEPT, accept)).to_http_request();
            assert_eq!(accepted(&request), format, "{accept}");
        }
        assert_eq!(accepted(&TestRequest::default().to_http_request()), Format::Json);
    }
}
