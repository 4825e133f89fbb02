//! A proxy that applies the faults of bad networks to connections.
//!
//! It connects agents or subscribers with a collector. It knows bytes and turns, not HTTP; only
//! to send a request twice it must find its end. The fault of the n-th connection
//! depends on the seed and n alone, so a run with the same seed has the same faults in the same
//! order, independent of timing.

mod duplicate;
mod plan;
mod tunnel;

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

pub use plan::{FaultPlan, FaultSchedule, Twin};

use super::ports::free_address;

/// Connections at once; more of them wait to be accepted.
const MAX_CONNECTIONS: usize = 256;

/// Longest that a connection to the other end may take.
const CONNECT: Duration = Duration::from_secs(5);

/// Between two tries to listen again.
const LISTEN_AGAIN: Duration = Duration::from_millis(20);

/// A running proxy; it ends, and cuts what it carries, when this is dropped.
#[derive(Debug)]
pub struct ChaosProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    target: SocketAddr,
    schedule: Mutex<FaultSchedule>,
    /// How often each plan came true; one that was to come true at a later exchange may not have.
    applied: Mutex<BTreeMap<&'static str, u64>>,
}

impl ChaosProxy {
    /// Listens on a free port and forwards connections to `target` (`http://host:port`).
    pub async fn start(target: &str, schedule: FaultSchedule) -> Self {
        let target = target.trim_start_matches("http://").parse().expect("a target is host:port");
        let shared = Arc::new(Shared { target, schedule: Mutex::new(schedule), applied: Mutex::default() });
        let (address, listener) = loop {
            // A refusal closes the port for a moment, so the system must not assign it to another socket.
            let address = free_address();
            if let Ok(listener) = TcpListener::bind(address).await {
                break (address, listener);
            }
        };
        let task = tokio::spawn(serve(Arc::clone(&shared), address, listener));
        ChaosProxy { address, shared, task }
    }

    /// `http://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("http://{}:{}", Ipv4Addr::LOCALHOST, self.address.port())
    }

    /// Sets the schedule of new connections. Those that are under way keep their plan.
    pub fn set_schedule(&self, schedule: FaultSchedule) {
        *lock(&self.shared.schedule) = schedule;
    }

    /// The number of times that each plan came true so far.
    pub fn applied(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.shared.applied).clone()
    }
}

impl Drop for ChaosProxy {
    fn drop(&mut self) {
        self.task.abort();
        if std::thread::panicking() {
            print(&format!("---- chaos: {}, {:?} ----\n", lock(&self.shared.schedule), self.applied()));
        }
    }
}

impl Shared {
    fn record(&self, plan: &FaultPlan) {
        *lock(&self.applied).entry(plan.name()).or_default() += 1;
    }
}

async fn serve(shared: Arc<Shared>, address: SocketAddr, mut listener: TcpListener) {
    let mut connections = JoinSet::new();
    for number in 0.. {
        while connections.len() >= MAX_CONNECTIONS {
            connections.join_next().await;
        }
        while connections.try_join_next().is_some() {}
        let Ok((client, _)) = listener.accept().await else { continue };
        let plan = lock(&shared.schedule).of_connection(number);
        if let FaultPlan::Refuse { gone } = plan {
            shared.record(&plan);
            reset(client);
            drop(listener);
            sleep(gone).await;
            listener = listen_again(address).await;
            continue;
        }
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            // A connection that breaks is what this is for.
            let _ = carry(&shared, client, plan).await;
        });
    }
}

async fn listen_again(address: SocketAddr) -> TcpListener {
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(_) => sleep(LISTEN_AGAIN).await,
        }
    }
}

async fn carry(shared: &Shared, client: TcpStream, plan: FaultPlan) -> io::Result<()> {
    client.set_nodelay(true)?;
    match plan {
        FaultPlan::Refuse { .. } => Ok(()),
        FaultPlan::Reset => {
            shared.record(&plan);
            reset(client);
            Ok(())
        }
        FaultPlan::BlackHole { held } => {
            shared.record(&plan);
            sleep(held).await;
            reset(client);
            Ok(())
        }
        FaultPlan::Duplicate(twin) => duplicate::carry(shared, client, twin).await,
        _ => match connect(shared.target).await {
            Ok(upstream) => tunnel::carry(shared, client, upstream, plan, Vec::new()).await,
            Err(error) => {
                reset(client);
                Err(error)
            }
        },
    }
}

async fn connect(target: SocketAddr) -> io::Result<TcpStream> {
    let stream = timeout(CONNECT, TcpStream::connect(target)).await??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Closes so that the peer gets an error and not an end.
fn reset(stream: TcpStream) {
    let _ = stream.set_zero_linger();
    drop(stream);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[expect(clippy::print_stderr, reason = "the output of a failing test")]
fn print(text: &str) {
    eprint!("{text}");
}
