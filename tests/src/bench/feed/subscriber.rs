//! One subscriber: a connection, what of its bytes is not whole yet, and what it has had so far.

use std::io::{self, Read, Write};
use std::net::SocketAddr;

use mio::net::TcpStream;
use tokio::time::Instant;

use super::scan::{Chunks, Scanner, What, epoch, head_end};
use super::tally::LoadTally;

/// Longest head of an answer.
const MAX_HEAD_BYTES: usize = 16 << 10;

/// The state of a subscriber.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stage {
    /// Comes (back) at this time.
    Away(Instant),
    /// Between connect(2) and the request.
    Connecting,
    /// Waits for the answer's head.
    Asked,
    /// Reads events.
    Open,
    /// Keeps the connection and does not read.
    Stalled,
}

/// The end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadOutcome {
    /// It is still open.
    Open,
    /// It is over.
    Ended,
    /// The collector has no capacity now, and asks to wait this many seconds.
    RetryAfter(u64),
}

/// A subscriber.
#[derive(Debug)]
pub struct Subscriber {
    /// The index of its token.
    pub token: usize,
    /// Its state.
    pub stage: Stage,
    /// Its connection, when there is one.
    pub stream: Option<TcpStream>,
    /// The id that it has had last.
    pub last_id: Option<u64>,
    /// Whether it received its position on this connection.
    pub is_placed: bool,
    /// Whether it has had a line that was sent after the cut.
    pub is_live: bool,
    /// Whether it reads slowly on purpose, and does not count among the others' latencies.
    pub is_slow: bool,
    /// Whether it received a gap, so that missing lines are not a loss.
    pub knows_gaps: bool,
    /// By source: the number of the next line.
    pub next: Box<[u32]>,
    /// Lines that were left out.
    pub missing: u64,
    chunks: Chunks,
    begun: Vec<u8>,
}

/// State that a read needs besides the subscriber.
#[derive(Debug)]
pub struct Reading<'a> {
    /// Finds blocks.
    pub scanner: &'a Scanner,
    /// Counts.
    pub tally: &'a mut LoadTally,
    /// Zero of all times in lines.
    pub zero: Instant,
    /// The same, Unix milliseconds.
    pub zero_ms: i64,
    /// Lines sent from here on are new; microseconds since the zero.
    pub cut_us: u64,
    /// First half of every id.
    pub epoch: &'a mut Option<String>,
}

impl Subscriber {
    /// One that comes at this time.
    pub fn new(token: usize, sources: usize, at: Instant) -> Self {
        Subscriber {
            token,
            stage: Stage::Away(at),
            stream: None,
            last_id: None,
            is_placed: false,
            is_live: true,
            is_slow: false,
            knows_gaps: false,
            next: vec![0; sources].into(),
            missing: 0,
            chunks: Chunks::default(),
            begun: Vec::new(),
        }
    }

    /// Begins a connection.
    pub fn connect(&mut self, address: SocketAddr) -> io::Result<&mut TcpStream> {
        self.stage = Stage::Connecting;
        self.is_placed = false;
        self.chunks = Chunks::default();
        self.begun = Vec::new();
        Ok(self.stream.insert(TcpStream::connect(address)?))
    }

    /// Requests the events after the last id, once the connection is established; returns whether it is.
    pub fn ask(&mut self, head: &str, epoch: Option<&str>) -> io::Result<bool> {
        let Some(stream) = &mut self.stream else { return Ok(false) };
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
        match stream.peer_addr() {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotConnected => return Ok(false),
            Err(error) => return Err(error),
        }
        stream.set_nodelay(true)?;
        let resume = match (epoch, self.last_id) {
            (Some(epoch), Some(id)) => format!("Last-Event-ID: {epoch}-{id}\r\n"),
            _ => String::new(),
        };
        // A new socket takes some hundred bytes at once.
        stream.write_all(format!("{head}{resume}\r\n").as_bytes())?;
        self.stage = Stage::Asked;
        Ok(true)
    }

    /// Disconnects, and connects again at this time.
    pub fn leave(&mut self, until: Instant) {
        self.stream = None;
        self.is_placed = false;
        self.stage = Stage::Away(until);
    }

    /// Reads what there is, at most `limit` bytes.
    pub fn read(&mut self, buffer: &mut [u8], limit: usize, reading: &mut Reading<'_>) -> io::Result<ReadOutcome> {
        let mut left = limit;
        while left > 0 {
            let room = buffer.len().min(left);
            let Some(stream) = &mut self.stream else { return Ok(ReadOutcome::Ended) };
            let count = match stream.read(&mut buffer[..room]) {
                Ok(0) => return Ok(ReadOutcome::Ended),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(ReadOutcome::Open),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            reading.tally.bytes += count as u64;
            reading.tally.reads += 1;
            left -= count;
            let outcome = self.take(&buffer[..count], reading)?;
            // A read that was not filled has emptied the socket (epoll(7)).
            if outcome != ReadOutcome::Open || count < room {
                return Ok(outcome);
            }
        }
        Ok(ReadOutcome::Open)
    }

    fn take(&mut self, bytes: &[u8], reading: &mut Reading<'_>) -> io::Result<ReadOutcome> {
        if self.stage == Stage::Open {
            return self.take_content(bytes, reading);
        }
        self.begun.extend_from_slice(bytes);
        let Some(end) = head_end(&self.begun) else {
            return if self.begun.len() > MAX_HEAD_BYTES {
                Err(io::ErrorKind::InvalidData.into())
            } else {
                Ok(ReadOutcome::Open)
            };
        };
        let answer = std::mem::take(&mut self.begun);
        if !answer.starts_with(b"HTTP/1.1 200") {
            reading.tally.refusals += 1;
            let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
            let after = head.split("retry-after: ").nth(1).and_then(|rest| rest.lines().next()?.trim().parse().ok());
            return Ok(ReadOutcome::RetryAfter(after.unwrap_or(1)));
        }
        self.stage = Stage::Open;
        self.take_content(&answer[end..], reading)
    }

    fn take_content(&mut self, mut bytes: &[u8], reading: &mut Reading<'_>) -> io::Result<ReadOutcome> {
        let elapsed = reading.zero.elapsed();
        let now_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        let mut begun = std::mem::take(&mut self.begun);
        while let Some(content) = self.chunks.next(&mut bytes)? {
            reading.scanner.blocks(&mut begun, content, |text, block| {
                let last_id = self.last_id;
                if let Some(id) = block.id {
                    self.last_id = Some(id);
                    self.is_placed = true;
                    if reading.epoch.is_none() {
                        *reading.epoch = epoch(text).map(str::to_owned);
                    }
                }
                // One that has waited for others comes without an id.
                let is_behind = block.id.zip(last_id).is_some_and(|(id, last)| id <= last);
                let tally = &mut *reading.tally;
                match block.what {
                    What::Line(stamp) => {
                        tally.disorder += u64::from(is_behind);
                        if let Some(next) = self.next.get_mut(stamp.source) {
                            tally.doubles += u64::from(stamp.number < *next);
                            self.missing += u64::from(stamp.number.saturating_sub(*next));
                            *next = (*next).max(stamp.number + 1);
                        }
                        self.is_live |= stamp.sent_us >= reading.cut_us;
                        if !self.is_slow {
                            tally.lines_us.saturating_record(now_us.saturating_sub(stamp.sent_us));
                        }
                    }
                    What::Conflated(at_ms) => {
                        tally.disorder += u64::from(is_behind);
                        let sent_us = u64::try_from(at_ms - reading.zero_ms).unwrap_or(0) * 1_000;
                        if !self.is_slow {
                            tally.conflated_us.saturating_record(now_us.saturating_sub(sent_us));
                        }
                    }
                    What::Gap => {
                        tally.gaps += 1;
                        self.knows_gaps = true;
                    }
                    What::Reset => tally.resets += 1,
                    What::Goodbye => tally.goodbyes += 1,
                    What::Ping => tally.pings += 1,
                    What::Other => {}
                }
            })?;
        }
        self.begun = begun;
        Ok(ReadOutcome::Open)
    }
}
