//! The terminal: taken at the start, and as it was at every end, also a panic or a signal.

use std::io::IsTerminal;

use anyhow::{Context, bail};
use ratatui::{DefaultTerminal, Frame};
use tokio::signal::unix::{SignalKind, signal};

/// A terminal that shows the screen. It is restored when this is dropped.
pub(super) struct Screen {
    terminal: DefaultTerminal,
}

/// Refuses to start without a terminal.
///
/// # Errors
///
/// When standard input or output is none.
pub(super) fn ensure_terminal() -> anyhow::Result<()> {
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        bail!("top needs a terminal; for scripts there are `systole-collector tail --json` and the HTTP interface");
    }
    if std::env::var_os("TERM").is_some_and(|term| term == "dumb") {
        bail!("top needs a terminal that can move its cursor, and TERM is dumb");
    }
    Ok(())
}

impl Screen {
    /// Takes the terminal. A panic restores it before its message is printed.
    ///
    /// # Errors
    ///
    /// When the terminal refuses.
    pub(super) fn enter() -> anyhow::Result<Self> {
        let terminal = ratatui::try_init().context("cannot use the terminal")?;
        Ok(Screen { terminal })
    }

    /// Draws what differs from the last screen.
    ///
    /// # Errors
    ///
    /// When the terminal is gone.
    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> anyhow::Result<()> {
        self.terminal.draw(draw).context("cannot write to the terminal")?;
        Ok(())
    }

    /// Columns and lines.
    pub(super) fn lines(&self) -> u16 {
        self.terminal.size().map_or(24, |size| size.height)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.terminal.show_cursor();
        ratatui::restore();
    }
}

/// SIGTERM, SIGINT from elsewhere, or a terminal that was closed.
pub(super) async fn ended() {
    let signals = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal);
    let [Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)] = signals else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        _ = hangup.recv() => {}
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    /// Makes this process the one that panics.
    const PANICS: &str = "SYSTOLE_TEST_PANIC_ON_THE_SCREEN";

    #[test]
    fn panic_while_drawing_restores_the_terminal() {
        if std::env::var_os(PANICS).is_some() {
            let mut screen = Screen::enter().unwrap();
            screen.draw(|_| panic!("nothing can be drawn")).unwrap();
        }
        let program = std::env::current_exe().unwrap();
        let test = "cli::top::terminal::tests::panic_while_drawing_restores_the_terminal";
        let line = format!("'{}' --exact {test} --nocapture", program.display());
        // `script` (util-linux) is the terminal of this test in another process.
        let ended = Command::new("script")
            .args(["--quiet", "--return", "--command", &line, "/dev/null"])
            .env(PANICS, "1")
            .env("TERM", "xterm-256color")
            .env("SHELL", "/bin/sh")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let written = String::from_utf8_lossy(&ended.stdout).into_owned();
        assert!(!ended.status.success(), "{written}");
        let place = |text: &str| written.find(text).unwrap_or_else(|| panic!("{text:?} is not in {written:?}"));
        assert!(place("\u{1b}[?1049h") < place("\u{1b}[?1049l"), "the screen was taken, and left");
        assert!(place("\u{1b}[?1049l") < place("nothing can be drawn"), "the message is on the terminal as it was");
        assert!(written.contains("\u{1b}[?25h"), "the cursor is shown again: {written:?}");
    }
}
