//! The HTTP surface. Only this module knows HTTP: handlers read a request, call the domain, and
//! write the answer.

mod api;
mod assets;
mod body_budget;
mod dto;
mod error;
mod extract;
mod forward;
mod openapi;
mod params;
mod render;
mod routes;
mod same_site;
mod suggest;

pub(crate) use self::body_budget::BodyBudget;
pub(crate) use self::openapi::text as openapi_document;
pub(crate) use self::routes::configure;
