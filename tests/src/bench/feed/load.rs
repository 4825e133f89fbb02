//! All subscribers, on one thread with one epoll: it shares the machine with the collector, and a
//! task per connection would cost as much as what is measured.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError};
use std::time::Duration;

use mio::{Events, Interest, Poll, Token};
use nix::sys::socket::{setsockopt, sockopt};
use tokio::time::Instant;

use super::scan::Scanner;
use super::subscriber::{ReadOutcome, Reading, Stage, Subscriber};
use super::tally::LoadTally;
use crate::clock;

/// Read into by all connections in turn.
const BUFFER_BYTES: usize = 256 << 10;
/// How often orders and times are checked.
const LOOK: Duration = Duration::from_millis(10);
/// Connections that are made at a time at the start; at a storm all of them are.
const CONNECTING: usize = 256;
/// After a failed connection.
const BACK_OFF: Duration = Duration::from_millis(200);
/// What a socket of a stalled subscriber takes before the collector's fills.
const STALLED_BUFFER_BYTES: usize = 4 << 10;
/// How often the slow ones read.
const SLOW_EVERY: Duration = Duration::from_millis(100);

/// The subscribers.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The collector.
    pub address: SocketAddr,
    /// How many.
    pub subscribers: usize,
    /// A request's head for each token, without its blank line.
    pub heads: Vec<String>,
    /// Nodes that write lines.
    pub sources: usize,
    /// Bytes that a slow subscriber reads per second.
    pub slow_bytes_per_second: usize,
    /// Zero of all times in lines.
    pub zero: Instant,
}

/// An order to the load thread.
#[derive(Debug)]
pub enum Order {
    /// Return the counts, and start again at zero.
    Count(SyncSender<LoadTally>),
    /// Cut all connections at once, and have each come back with its own id.
    Cut,
    /// This many subscribers stop reading, and this many after them read slowly.
    Stall(usize, usize),
    /// All read on.
    ReadOn,
    /// Wait until everyone has all lines.
    Finish(Finish),
}

/// The end of a run.
#[derive(Debug)]
pub struct Finish {
    /// By source: lines that it has sent.
    pub lines: Vec<u32>,
    /// Events that come later count as missing.
    pub deadline: Instant,
    /// Gets the outcome.
    pub verdict: SyncSender<Verdict>,
}

/// The result of all subscribers.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Lines that did not reach subscribers without a gap.
    pub lost: u64,
    /// Lines that did not reach subscribers with a gap.
    pub in_gaps: u64,
    /// Subscribers with a gap.
    pub with_gaps: u64,
    /// Counts since the last call.
    pub tally: LoadTally,
}

/// The state that others can read at any time.
#[derive(Debug, Default)]
pub struct Status {
    /// Subscribers that know where they are.
    pub placed: AtomicUsize,
    /// Subscribers that have had a line sent after the last cut.
    pub live: AtomicUsize,
}

/// The subscribers.
pub struct Load {
    plan: Plan,
    poll: Poll,
    subscribers: Vec<Subscriber>,
    scanner: Scanner,
    tally: LoadTally,
    buffer: Vec<u8>,
    epoch: Option<String>,
    zero_ms: i64,
    cut_us: u64,
    connecting: usize,
    max_connecting: usize,
    /// The slow subscribers.
    slow: std::ops::Range<usize>,
    next_slow_read: Instant,
    finish: Option<Finish>,
    status: Arc<Status>,
}

impl Load {
    /// Without a connection yet.
    pub fn new(plan: Plan, status: Arc<Status>) -> io::Result<Self> {
        let now = Instant::now();
        let subscriber = |number| Subscriber::new(number % plan.heads.len(), plan.sources, now);
        let subscribers = (0..plan.subscribers).map(subscriber).collect();
        let since_zero = i64::try_from(plan.zero.elapsed().as_millis()).unwrap_or(0);
        Ok(Load {
            plan,
            poll: Poll::new()?,
            subscribers,
            scanner: Scanner::new(),
            tally: LoadTally::new(),
            buffer: vec![0; BUFFER_BYTES],
            epoch: None,
            zero_ms: clock::now_ms() - since_zero,
            cut_us: 0,
            connecting: 0,
            max_connecting: CONNECTING,
            slow: 0..0,
            next_slow_read: now,
            finish: None,
            status,
        })
    }

    /// Subscribes and reads until the orders end.
    pub fn run(mut self, orders: &Receiver<Order>) -> io::Result<()> {
        let mut events = Events::with_capacity(1_024);
        let mut next_look = Instant::now();
        loop {
            if let Err(error) = self.poll.poll(&mut events, Some(LOOK))
                && error.kind() != io::ErrorKind::Interrupted
            {
                return Err(error);
            }
            for event in &events {
                self.attend(event.token().0, usize::MAX);
            }
            let now = Instant::now();
            if now < next_look {
                continue;
            }
            next_look = now + LOOK;
            self.connect_the_due(now);
            self.read_slowly(now);
            self.try_finish(now);
            self.show();
            match orders.try_recv() {
                Ok(order) => self.obey(order),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return Ok(()),
            }
        }
    }

    /// Something has happened on a connection.
    fn attend(&mut self, number: usize, limit: usize) {
        let subscriber = &mut self.subscribers[number];
        if subscriber.stage == Stage::Connecting {
            let head = &self.plan.heads[subscriber.token];
            match subscriber.ask(head, self.epoch.as_deref()) {
                Ok(false) => return,
                Ok(true) => {
                    if let Some(stream) = &mut subscriber.stream {
                        let _ = self.poll.registry().reregister(stream, Token(number), Interest::READABLE);
                    }
                }
                Err(_) => return self.end(number, BACK_OFF),
            }
        }
        if !matches!(subscriber.stage, Stage::Asked | Stage::Open) {
            return;
        }
        let was_asked = subscriber.stage == Stage::Asked;
        let mut reading = Reading {
            scanner: &self.scanner,
            tally: &mut self.tally,
            zero: self.plan.zero,
            zero_ms: self.zero_ms,
            cut_us: self.cut_us,
            epoch: &mut self.epoch,
        };
        let outcome = subscriber.read(&mut self.buffer, limit, &mut reading);
        if was_asked && subscriber.stage == Stage::Open {
            self.connecting -= 1;
        }
        match outcome {
            Ok(ReadOutcome::Open) => {}
            Ok(ReadOutcome::RetryAfter(seconds)) => self.end(number, Duration::from_secs(seconds)),
            Ok(ReadOutcome::Ended) | Err(_) => {
                self.tally.closes += 1;
                self.end(number, BACK_OFF);
            }
        }
    }

    fn end(&mut self, number: usize, back_off: Duration) {
        let subscriber = &mut self.subscribers[number];
        if matches!(subscriber.stage, Stage::Connecting | Stage::Asked) {
            self.connecting -= 1;
        }
        subscriber.leave(Instant::now() + back_off);
    }

    fn connect_the_due(&mut self, now: Instant) {
        for number in 0..self.subscribers.len() {
            if self.connecting >= self.max_connecting {
                return;
            }
            let subscriber = &mut self.subscribers[number];
            if !matches!(subscriber.stage, Stage::Away(at) if at <= now) {
                continue;
            }
            self.connecting += 1;
            let interest = Interest::READABLE | Interest::WRITABLE;
            let connected = subscriber
                .connect(self.plan.address)
                .and_then(|stream| self.poll.registry().register(stream, Token(number), interest));
            if connected.is_err() {
                self.end(number, BACK_OFF);
            }
        }
    }

    fn read_slowly(&mut self, now: Instant) {
        if now < self.next_slow_read {
            return;
        }
        self.next_slow_read = now + SLOW_EVERY;
        let share = self.plan.slow_bytes_per_second / 10;
        self.slow.clone().for_each(|number| self.attend(number, share));
    }

    fn show(&self) {
        let count = |is: fn(&Subscriber) -> bool| self.subscribers.iter().filter(|one| is(one)).count();
        self.status.placed.store(count(|one| one.is_placed), Ordering::Relaxed);
        self.status.live.store(count(|one| one.is_live), Ordering::Relaxed);
    }

    fn obey(&mut self, order: Order) {
        match order {
            // The receiver may be gone.
            Order::Count(to) => drop(to.send(std::mem::take(&mut self.tally))),
            Order::Cut => self.cut(),
            Order::Stall(stalled, slow) => self.stall(stalled, slow),
            Order::ReadOn => self.read_on(),
            Order::Finish(finish) => self.finish = Some(finish),
        }
    }

    fn cut(&mut self) {
        let now = Instant::now();
        self.cut_us = u64::try_from((now - self.plan.zero).as_micros()).unwrap_or(u64::MAX);
        self.max_connecting = usize::MAX;
        self.connecting = 0;
        for subscriber in &mut self.subscribers {
            subscriber.leave(now);
            subscriber.is_live = false;
        }
    }

    fn stall(&mut self, stalled: usize, slow: usize) {
        self.slow = stalled..stalled + slow;
        for (number, subscriber) in self.subscribers.iter_mut().enumerate().take(stalled + slow) {
            subscriber.is_slow = true;
            let Some(stream) = subscriber.stream.as_mut().filter(|_| subscriber.stage == Stage::Open) else { continue };
            // Fails for a connection that has ended, which is noticed at the next read.
            let _ = setsockopt(&*stream, sockopt::RcvBuf, &STALLED_BUFFER_BYTES);
            let _ = self.poll.registry().deregister(stream);
            if number < stalled {
                subscriber.stage = Stage::Stalled;
            }
        }
    }

    fn read_on(&mut self) {
        let readers = 0..std::mem::take(&mut self.slow).end;
        for number in readers {
            let subscriber = &mut self.subscribers[number];
            if let Some(stream) = subscriber.stream.as_mut()
                && matches!(subscriber.stage, Stage::Stalled | Stage::Open)
            {
                subscriber.stage = Stage::Open;
                // Fails for one that has come back in the meantime, which is registered.
                let _ = self.poll.registry().register(stream, Token(number), Interest::READABLE);
            }
        }
    }

    /// Sends the verdict once everything has arrived, or the time is over.
    fn try_finish(&mut self, now: Instant) {
        let Some(finish) = &self.finish else { return };
        if now >= finish.deadline || self.subscribers.iter().all(|one| *one.next == *finish.lines) {
            let mut verdict = Verdict { tally: std::mem::take(&mut self.tally), ..Verdict::default() };
            for one in &self.subscribers {
                let to_come =
                    one.next.iter().zip(&finish.lines).map(|(next, all)| u64::from(all.saturating_sub(*next)));
                let missing = one.missing + to_come.sum::<u64>();
                *(if one.knows_gaps { &mut verdict.in_gaps } else { &mut verdict.lost }) += missing;
                verdict.with_gaps += u64::from(one.knows_gaps);
            }
            let _ = finish.verdict.send(verdict);
            self.finish = None;
        }
    }
}
