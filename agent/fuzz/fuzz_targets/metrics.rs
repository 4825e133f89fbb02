//! Answers of metrics endpoints.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| systole_agent::fuzzing::metrics(data));
