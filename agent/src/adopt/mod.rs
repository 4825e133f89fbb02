//! `systole-agent adopt`: sections of the configuration for the pipelines that systemd runs on this host already.
//!
//! It only writes text. The agent then watches these pipelines; systemd keeps running them.

mod fluentbit;
mod section;
mod units;

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use self::section::Found;
use self::units::{SystemdError, Unit};

/// Why there are no sections.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdoptError {
    /// systemd cannot be asked.
    #[error(transparent)]
    Systemd(#[from] SystemdError),
    /// The file cannot be written.
    #[error("cannot write {}: {source}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Finds the units that run an engine and are not `known` (ids, units), and writes their sections: to the end of a
/// file, or to `out`. What was found goes to `notes`.
///
/// # Errors
/// When systemd cannot be asked, or the file not be written.
pub(crate) fn run(
    known: &(BTreeSet<String>, BTreeSet<String>),
    write: Option<&Path>,
    out: &mut impl Write,
    notes: &mut impl Write,
) -> Result<(), AdoptError> {
    let (mut ids, known_units) = known.clone();
    let all: Vec<Found> = units::running()?.iter().filter_map(Found::of).collect();
    let is_known =
        |unit: &Unit| known_units.iter().any(|known| *known == unit.name || format!("{known}.service") == unit.name);
    let (known, new): (Vec<_>, Vec<_>) = all.into_iter().partition(|found| is_known(&found.unit));
    let sections: Vec<String> = new.iter().map(|found| found.section(&mut ids)).collect();
    // The notes are for people; a reader that closed them changes nothing.
    let mut note = |line: String| drop(writeln!(notes, "{line}"));
    for found in &known {
        note(format!("{}: is in the configuration already", found.unit.name));
    }
    for found in &new {
        note(format!("{}: {}", found.unit.name, found.summary()));
    }
    if new.is_empty() {
        note("no other running unit of Vector, otelcol or Fluent Bit was found".to_owned());
        return Ok(());
    }
    let text = sections.join("\n");
    match write {
        Some(path) => {
            append(path, &text).map_err(|source| AdoptError::Write { path: path.to_owned(), source })?;
            note(format!(
                "{} sections were added to {}; the agent applies them within seconds",
                new.len(),
                path.display()
            ));
        }
        // A reader may close the pipe early.
        None => drop(out.write_all(text.as_bytes())),
    }
    Ok(())
}

/// Adds text to the end of a file in one step, and leaves its owner and mode as they are.
fn append(path: &Path, text: &str) -> io::Result<()> {
    let before = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        read => read?,
    };
    let gap = if before.is_empty() || before.ends_with("\n\n") { "" } else { "\n" };
    let gap = if before.is_empty() || before.ends_with('\n') { gap.to_owned() } else { format!("\n{gap}") };
    fs::OpenOptions::new().create(true).append(true).open(path)?.write_all(format!("{gap}{text}").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_added_after_an_empty_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.toml");
        append(&path, "a = 1").unwrap();
        append(&path, "b = 2\n").unwrap();
        append(&path, "c = 3\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "a = 1\n\nb = 2\n\nc = 3\n");
    }
}
