//! Bytes from one end to the other, until the connection's plan comes.

use std::io;
use std::ops::ControlFlow;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::{FaultPlan, Shared, reset};

/// Bytes under way in one direction.
const BUFFER: usize = 16 * 1024;

/// Longest that an end may refuse to take bytes.
const WRITE: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
}

/// Where a connection is in its exchanges.
#[derive(Debug)]
struct Turns {
    exchange: u64,
    direction: Direction,
    /// Bytes carried in this direction in this exchange.
    bytes: usize,
}

/// Carries a connection, `first` being what the client has said already.
pub(super) async fn carry(
    shared: &Shared,
    mut client: TcpStream,
    mut upstream: TcpStream,
    plan: FaultPlan,
    first: Vec<u8>,
) -> io::Result<()> {
    let (mut up, mut down) = (vec![0; BUFFER], vec![0; BUFFER]);
    let mut turns = Turns { exchange: 0, direction: Direction::Down, bytes: 0 };
    let mut client_is_open = true;
    if !first.is_empty() {
        let flow = turns.pass(shared, plan, Direction::Up, &first, &mut upstream).await?;
        if flow.is_break() {
            return Ok(());
        }
    }
    loop {
        let flow = tokio::select! {
            read = client.read(&mut up), if client_is_open => match read? {
                0 => {
                    client_is_open = false;
                    upstream.shutdown().await?;
                    continue;
                }
                count => turns.pass(shared, plan, Direction::Up, &up[..count], &mut upstream).await?,
            },
            read = upstream.read(&mut down) => match read? {
                0 => return client.shutdown().await,
                count => turns.pass(shared, plan, Direction::Down, &down[..count], &mut client).await?,
            },
        };
        if flow.is_break() {
            reset(client);
            reset(upstream);
            return Ok(());
        }
    }
}

impl Turns {
    /// Carries bytes in one direction, as far as the plan lets them; breaks where it cuts.
    async fn pass(
        &mut self,
        shared: &Shared,
        plan: FaultPlan,
        direction: Direction,
        bytes: &[u8],
        to: &mut TcpStream,
    ) -> io::Result<ControlFlow<()>> {
        let is_turn = direction != self.direction;
        if is_turn {
            self.direction = direction;
            self.bytes = 0;
            self.exchange += u64::from(direction == Direction::Up);
        }
        let room = match (plan, direction) {
            (FaultPlan::Pass { exchanges }, Direction::Up) if exchanges > 0 && self.exchange > exchanges => Some(0),
            // The message was shorter than the place of the cut: it comes before the next one.
            (FaultPlan::CutRequest { exchange, .. } | FaultPlan::CutAnswer { exchange, .. }, Direction::Up)
                if self.exchange > exchange =>
            {
                Some(0)
            }
            (FaultPlan::CutRequest { exchange, after }, Direction::Up)
            | (FaultPlan::CutAnswer { exchange, after }, Direction::Down)
                if exchange == self.exchange =>
            {
                Some(after.saturating_sub(self.bytes)).filter(|room| *room < bytes.len())
            }
            _ => None,
        };
        let wait = match (plan, direction) {
            (FaultPlan::Delay { request, .. }, Direction::Up) => request,
            (FaultPlan::Delay { answer, .. }, Direction::Down) => answer,
            _ => Duration::ZERO,
        };
        if is_turn && !wait.is_zero() {
            sleep(wait).await;
        }
        let lasting = matches!(plan, FaultPlan::Delay { .. } | FaultPlan::Trickle { .. });
        if room.is_some() || (lasting && is_turn) {
            shared.record(&plan);
        }
        let bytes = &bytes[..room.unwrap_or(bytes.len())];
        self.bytes += bytes.len();
        match plan {
            FaultPlan::Trickle { piece, pause } => {
                for piece in bytes.chunks(piece) {
                    timeout(WRITE, to.write_all(piece)).await??;
                    sleep(pause).await;
                }
            }
            _ => timeout(WRITE, to.write_all(bytes)).await??,
        }
        Ok(if room.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }
}
