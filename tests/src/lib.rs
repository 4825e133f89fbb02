//! The end-to-end tests' harness.

#![forbid(unsafe_code)]
