//! The signals that stop the agent or make it read its configuration again.
//!
//! SIGHUP reloads the configuration. On a terminal it means the end of the terminal, and so it ends the
//! agent.

use std::io::{self, IsTerminal};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The request of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// To end, for this signal.
    End(&'static str),
    /// To read the configuration again.
    Reload,
}

/// SIGTERM and SIGINT stop the agent. SIGHUP makes it read its configuration again. For an agent on a
/// terminal it is the end of the terminal, and so of the agent, unless it was started to survive that.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Option<Signal>,
    has_terminal: bool,
}

impl Signals {
    /// Begins to listen; from here on no signal ends the process by itself.
    pub(crate) fn listen() -> io::Result<Self> {
        let hang_up = SignalKind::hangup();
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: if is_ignored(hang_up) { None } else { Some(signal(hang_up)?) },
            has_terminal: io::stdin().is_terminal() || io::stderr().is_terminal(),
        })
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) -> Wish {
        let hang_up = async {
            match &mut self.hang_up {
                Some(hang_up) => hang_up.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => Wish::End("SIGTERM"),
            _ = self.interrupt.recv() => Wish::End("SIGINT"),
            _ = hang_up => if self.has_terminal { Wish::End("SIGHUP") } else { Wish::Reload },
        }
    }
}

/// Whether the agent was started with this signal ignored, as `nohup` does. Linux only.
fn is_ignored(kind: SignalKind) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (kind.as_raw_value() - 1)) != 0)
}
