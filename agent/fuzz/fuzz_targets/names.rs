//! Names in logged directories.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let dir = std::env::temp_dir().join(format!("systole-fuzz-names-{}", std::process::id()));
    systole_agent::fuzzing::names(data, &dir);
});
