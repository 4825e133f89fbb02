//! Reads the body of an agent's reports, whatever their protocol: within its bounds, with room for what is opened, and
//! long ones beside the threads that serve requests.

use actix_web::HttpRequest;
use actix_web::http::header;
use actix_web::web::Payload;
use systole_shared::limits::{MAX_BODY_BYTES, MAX_COMPONENTS_PER_REPORT};
use tokio::time::Instant;

use super::agent::refuse_when_full;
use crate::app::App;
use crate::http::body_budget::{BudgetError, Charge, Sender};
use crate::http::error::ApiError;
use crate::http::extract::{Body, read_body};
use crate::ingest::decompress;
use crate::ingest::long_work::Verdict;
use crate::model::NodeKey;
use crate::telemetry::ReasonLabel;

/// A long body of which more items were refused is a waste of work: as many as a report may have components.
const MAX_REFUSED_OF_USEFUL: u64 = MAX_COMPONENTS_PER_REPORT as u64;

/// What a protocol makes of a body.
pub(super) trait Decoded: Send + 'static {
    /// What it takes of memory, about.
    fn bytes(&self) -> usize;
    /// Items that were left out.
    fn refused_count(&self) -> u64;
}

/// Reads a body with a protocol's `decode`. What is returned beside the result is the room that it takes, to be held
/// until it is committed.
///
/// # Errors
///
/// When the body is not what `decode` reads, is beyond a bound, or there is no room for it.
pub(super) async fn read<D: Decoded, E>(
    app: &App,
    node: NodeKey,
    request: &HttpRequest,
    payload: Payload,
    decode: impl Fn(&[u8]) -> Result<D, E> + Copy + Send + 'static,
) -> Result<(D, Charge), ApiError>
where
    ApiError: From<E>,
{
    let sender = Sender::Node(node);
    let body = read_body(app, sender, request, payload, MAX_BODY_BYTES).await?;
    app.telemetry.body_bytes.inc_by(body.bytes.len() as u64);
    // After the body: a client that still sends cannot read an answer.
    refuse_when_full(app).inspect_err(|_| app.fleet.excuse(node, Instant::now()))?;
    let encoding = request.headers().get(header::CONTENT_ENCODING).map(|value| value.to_str().unwrap_or("?"));
    let room = &app.report_room;
    let read_short = |opened: &[u8]| read_in_room(room.charge(sender), opened, decode);
    match decompress::open_short(&body.bytes, encoding, read_short)? {
        Some(read) => read,
        None => {
            let (encoding, charge) = (encoding.map(str::to_owned), room.charge(sender));
            app.telemetry.long_bodies.inc();
            let share = room.share();
            let work = move || read_long(charge, share, &body, encoding.as_deref(), decode);
            app.long_work.run(node, work).await?
        }
    }
}

/// Counts a request that was rejected whole.
pub(super) fn count_rejected(app: &App, error: &ApiError) {
    let reason = match error.status().as_u16() {
        408 => "too_slow",
        413 => "too_large",
        503 if app.disk.is_full() => "disk_full",
        503 => "unavailable",
        _ => "malformed",
    };
    app.telemetry.requests_rejected.get_or_create(&ReasonLabel { reason }).inc();
}

fn no_room(_: BudgetError) -> ApiError {
    ApiError::unavailable("too many bytes of reports wait for the database")
}

/// Reads an opened body if there is room for it.
fn read_in_room<D, E>(
    mut room: Charge,
    opened: &[u8],
    decode: impl Fn(&[u8]) -> Result<D, E>,
) -> Result<(D, Charge), ApiError>
where
    ApiError: From<E>,
{
    room.grow_to(opened.len()).map_err(no_room)?;
    Ok((decode(opened)?, room))
}

/// Opens and reads a long body, and judges whether that was worth it.
fn read_long<D: Decoded, E>(
    room: Charge,
    share: usize,
    body: &Body,
    encoding: Option<&str>,
    decode: impl Fn(&[u8]) -> Result<D, E>,
) -> (Result<(D, Charge), ApiError>, Verdict)
where
    ApiError: From<E>,
{
    let opened = decompress::open(&body.bytes, encoding, |opened| {
        let (decoded, mut room) = read_in_room(room, opened, decode)?;
        // Many small items take several times their text. One body alone always has room.
        room.grow_to(decoded.bytes().min(share)).map_err(no_room)?;
        Ok((decoded, room))
    });
    let read: Result<(D, Charge), ApiError> = opened.unwrap_or_else(|error| Err(error.into()));
    let verdict = match &read {
        Ok((decoded, _)) if decoded.refused_count() > MAX_REFUSED_OF_USEFUL => Verdict::Useless,
        // Not the sender's fault.
        Err(error) if error.status().as_u16() < 500 => Verdict::Useless,
        Ok(_) | Err(_) => Verdict::Useful,
    };
    (read, verdict)
}
