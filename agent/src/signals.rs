//! The signals that end the agent, or have it read its configuration anew.

use std::io::{self, IsTerminal};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// To end, for this signal.
    End(&'static str),
    /// To read the configuration anew.
    Reload,
}

/// SIGTERM and SIGINT end the agent. SIGHUP has it read its configuration anew; but for an agent on a
/// terminal it is the terminal's end, and so the agent's, unless it was started to survive that.
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

/// Whether whoever started the agent had it ignore this signal, as `nohup` does. Linux only.
fn is_ignored(kind: SignalKind) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (kind.as_raw_value() - 1)) != 0)
}
