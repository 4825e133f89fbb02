//! Error responses in the document: `application/problem+json` (RFC 9457). Operations refer
//! to one list of them, by the statuses that they give.

use std::collections::BTreeMap;

use utoipa::IntoResponses;
use utoipa::openapi::{ContentBuilder, HeaderBuilder, Object, Ref, RefOr, Response, ResponseBuilder, Type};

/// Status, name, and what it means.
const PROBLEMS: [(u16, &str, &str); 10] = [
    (400, "BadRequest", "A parameter or a body that cannot be read; `detail` names it."),
    (401, "Unauthorized", "No token, or one that is unknown, revoked or expired."),
    (403, "Forbidden", "A token without the right: of a wrong kind, or for another environment."),
    (404, "NotFound", "Nothing there, or nothing that this token may see."),
    (408, "Timeout", "The body took more than 60 s."),
    (
        409,
        "Conflict",
        "Several environments have a pipeline of this id: name one with `environment`. Or another change came first, what \
         is to be removed is still in use, or a state does not allow it; `detail` says which.",
    ),
    (413, "TooLarge", "A body over 8 MiB when opened, or more than 100 reports; split it."),
    (
        415,
        "UnknownEncoding",
        "A Content-Encoding other than zstd and gzip, or a session that is not opened with application/json.",
    ),
    (429, "TooManyRequests", "This token or this address has sent too many requests; retry later."),
    (
        503,
        "Unavailable",
        "Not now: overloaded, stopping, without its database or with a full disk, or the query takes too long.",
    ),
];

type Responses = BTreeMap<String, RefOr<Response>>;

fn refer<const N: usize>(statuses: [u16; N]) -> Responses {
    let name = |status| PROBLEMS.iter().find(|problem| problem.0 == status).map(|problem| problem.1);
    let response = |status| Ref::from_response_name(name(status).expect("every status of an operation is listed"));
    statuses.into_iter().map(|status: u16| (status.to_string(), response(status).into())).collect()
}

/// Of whatever a reader asks.
pub(crate) struct Query;

impl IntoResponses for Query {
    fn responses() -> Responses {
        refer([400, 401, 403, 429, 503])
    }
}

/// Of a question about one thing, and of a list that is narrowed to one.
pub(crate) struct QueryOfOne;

impl IntoResponses for QueryOfOne {
    fn responses() -> Responses {
        refer([400, 401, 403, 404, 429, 503])
    }
}

/// Of a question about one pipeline.
pub(crate) struct QueryOfPipeline;

impl IntoResponses for QueryOfPipeline {
    fn responses() -> Responses {
        refer([400, 401, 403, 404, 409, 429, 503])
    }
}

/// Of a change of what the centre decides.
pub(crate) struct Change;

impl IntoResponses for Change {
    fn responses() -> Responses {
        refer([400, 401, 403, 404, 408, 409, 413, 429, 503])
    }
}

/// Of a small body of JSON.
pub(crate) struct Post;

impl IntoResponses for Post {
    fn responses() -> Responses {
        refer([400, 401, 403, 408, 409, 413, 415, 429, 503])
    }
}

/// Of an action on a pipeline of a node.
pub(crate) struct PostAction;

impl IntoResponses for PostAction {
    fn responses() -> Responses {
        refer([400, 401, 403, 404, 408, 409, 413, 429, 503])
    }
}

/// Of a decision about one thing that has a state.
pub(crate) struct Decision;

impl IntoResponses for Decision {
    fn responses() -> Responses {
        refer([401, 403, 404, 409, 429, 503])
    }
}

/// Of an agent's question about itself.
pub(crate) struct OfAgent;

impl IntoResponses for OfAgent {
    fn responses() -> Responses {
        refer([401, 403, 404, 429, 503])
    }
}

/// Of an agent's answer.
pub(crate) struct PostAnswer;

impl IntoResponses for PostAnswer {
    fn responses() -> Responses {
        refer([400, 401, 403, 404, 408, 413, 415, 429, 503])
    }
}

/// Of a change of one thing.
pub(crate) struct ChangeOfOne;

impl IntoResponses for ChangeOfOne {
    fn responses() -> Responses {
        refer([400, 401, 403, 404, 408, 413, 429, 503])
    }
}

/// Of a body of reports.
pub(crate) struct PostReports;

impl IntoResponses for PostReports {
    fn responses() -> Responses {
        refer([400, 401, 403, 408, 413, 415, 429, 503])
    }
}

/// Of what asks for nothing but a token.
pub(crate) struct Owned;

impl IntoResponses for Owned {
    fn responses() -> Responses {
        refer([401, 403, 429, 503])
    }
}

/// Of what asks for nothing.
pub(crate) struct Open;

impl IntoResponses for Open {
    fn responses() -> Responses {
        refer([503])
    }
}

/// The answers that the others refer to.
pub(super) fn all() -> impl Iterator<Item = (&'static str, Response)> {
    PROBLEMS.into_iter().map(|(status, name, description)| {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        let response = ResponseBuilder::new().description(description).content("application/problem+json", content);
        let header = |kind| HeaderBuilder::new().schema(Some(Object::with_type(kind)));
        let response = match status {
            401 => response.header("WWW-Authenticate", header(Type::String).build()),
            429 | 503 => response.header("Retry-After", header(Type::Integer).description(Some("Seconds")).build()),
            _ => response,
        };
        (name, response.build())
    })
}
