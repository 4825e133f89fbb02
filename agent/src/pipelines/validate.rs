//! Asks whether a new configuration is any good, before the process that runs is touched.

use std::time::Duration;

use super::process;
use super::revision::Revision;

/// How long the answer may take.
const CEILING: Duration = Duration::from_secs(30);

/// Of what the judge said, this many bytes go into the reason.
const SAID_BYTES: usize = 300;

/// Asks; `Err` is the reason why not.
pub(super) async fn validate(revision: &Revision) -> Result<(), String> {
    let Some(judge) = revision.validation() else { return Ok(()) };
    let name = judge.program.clone();
    let mut command = process::command(&judge, None).map_err(|error| error.to_string())?;
    command.kill_on_drop(true);
    let child = command.spawn().map_err(|error| format!("cannot start {name}: {error}"))?;
    let Ok(output) = tokio::time::timeout(CEILING, child.wait_with_output()).await else {
        return Err(format!("{name} did not judge it within {} s", CEILING.as_secs()));
    };
    let output = output.map_err(|error| format!("{name} gave no answer: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = if output.stderr.iter().all(u8::is_ascii_whitespace) { &output.stdout } else { &output.stderr };
    let ended = process::describe(output.status);
    Err(format!("{name} refuses it ({ended}): {}", words(&String::from_utf8_lossy(said))))
}

/// What was said, on one line, its end when it is long: that is where errors stand.
fn words(said: &str) -> String {
    let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let plain: String = words.chars().filter(|letter| !letter.is_control()).collect();
    let cut = plain.ceil_char_boundary(plain.len().saturating_sub(SAID_BYTES));
    if cut == 0 { plain } else { format!("…{}", &plain[cut..]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_long_words_the_end_is_kept_on_one_line() {
        assert_eq!(words("a\n  b\t\x1b[31mc\n"), "a b [31mc");
        let long = words(&format!("{} the error", "ü".repeat(1_000)));
        assert!(long.starts_with('…') && long.ends_with("the error") && long.len() <= SAID_BYTES + 3);
    }
}
