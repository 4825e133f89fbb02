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
