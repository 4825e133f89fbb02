//! The pair, end to end: real programs, real sockets, real time.

#![forbid(unsafe_code)]

mod bad_input;
mod exactly_once;
mod feed;
mod isolation;
mod pair;
mod queries;
mod replay;
mod stub;
mod supervision;
mod tokens;
