//! The stub as a process: its one loop, its signals, its end.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use nix::sys::signal::{Signal, raise};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};

use super::args::{Cli, Command as Subcommand, version};
use super::control::Command;
use super::engine::Engine;
use super::exposition::{self, Context};
use super::http;
use super::logs::Logger;
use super::settings::{EXIT_CONFIG, Settings, read_config};
use super::tap;
use super::totals::{Life, Scrape, TotalsFile};
use crate::clock;

/// Ends that wait to be carried out: one is enough, the first ends the process.
const ENDS: usize = 1;
/// Longest time for the answers that are under way at the end: the totals must not count more as shown than
/// was shown.
const LAST_ANSWERS: Duration = Duration::from_millis(500);
/// How often the stub checks that the holder of its lease is alive.
const LEASE: Duration = Duration::from_secs(1);

/// How the process is to end.
#[derive(Clone, Copy, Debug)]
enum End {
    Exit(u8),
    Signal(Signal),
}

/// Runs the program.
#[expect(clippy::print_stdout, reason = "this is the command's own output")]
pub async fn main() -> ExitCode {
    let cli = Cli::parse();
    if cli.version {
        println!("vector {} (x86_64-unknown-linux-gnu stub)", version());
        return ExitCode::SUCCESS;
    }
    match &cli.command {
        Some(Subcommand::Validate { files, .. }) => return validate(files),
        Some(Subcommand::Tap(options)) => return tap::run(options).await,
        None => {}
    }
    let configs = cli.config.iter().map(|path| format!("{path:?}")).collect::<Vec<_>>().join(", ");
    let life = format!("{:08x}", rand::random::<u32>());
    let settings = match Settings::load(cli) {
        Ok(settings) => settings,
        Err(error) => {
            let log = Logger::new(Default::default(), &life);
            log.line("ERROR", "vector::cli", &format!("Configuration error. error={error:#}"));
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    let log = Logger::new(settings.log_format, &life);
    match run(settings, log, life, &configs).await {
        Ok(End::Exit(code)) => ExitCode::from(code),
        Ok(End::Signal(signal)) => {
            let _ = raise(signal);
            ExitCode::FAILURE
        }
        Err(error) => {
            let log = Logger::new(Default::default(), "");
            log.line("ERROR", "vector::topology", &format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn validate(files: &[PathBuf]) -> ExitCode {
    let log = Logger::new(Default::default(), "");
    for file in files {
        match read_config(file) {
            Ok(_) => log.raw(format!("√ Loaded [{file:?}]\n").as_bytes()),
            Err(error) => {
                log.raw(format!("Failed to load [{file:?}]\n{}\nx {error:#}\n", "-".repeat(80)).as_bytes());
                return ExitCode::from(EXIT_CONFIG);
            }
        }
    }
    log.raw(b"-------------------------\n                Validated\n");
    ExitCode::SUCCESS
}

/// What the loop and the connections share. Never locked across an await.
struct Stub {
    state: Mutex<State>,
    started: Instant,
    end: mpsc::Sender<End>,
    /// Scrapes whose page is made and not written yet.
    answering: watch::Sender<usize>,
}

struct State {
    engine: Engine,
    log: Logger,
    totals: Option<TotalsFile>,
    life: String,
    started_at: i64,
    address: Option<SocketAddr>,
    scrapes: u64,
    events_per_scrape: u64,
    /// Numbered lines that came by the clock; those of a flood come on top.
    paced_lines: u64,
    tap: bool,
    internal_metrics: bool,
    hangs: bool,
    heeds_sigterm: bool,
    /// The page that is shown while the metrics are frozen.
    frozen: Option<String>,
    last_page: String,
}

impl State {
    fn write_totals(&self) {
        let Some(file) = &self.totals else { return };
        let by_component = |value: fn(&super::topology::Series) -> u64| {
            self.engine.component_counts(value).into_iter().map(|(_, id, counts)| (id, counts)).collect()
        };
        let life = Life {
            life: self.life.clone(),
            pid: std::process::id(),
            started_at: self.started_at,
            address: self.address,
            log_lines: self.log.lines,
            scrapes: self.scrapes,
            total: self.engine.counts(|series| series.total),
            exposed: self.engine.counts(|series| series.exposed),
            components: by_component(|series| series.total),
            exposed_components: by_component(|series| series.exposed),
        };
        if let Err(error) = file.write(life) {
            self.log.line("ERROR", "stub", &format!("{error:#}"));
        }
    }

    fn write_scrape(&self) {
        let Some(file) = &self.totals else { return };
        let exposed = self.engine.counts(|series| series.exposed);
        if let Err(error) = file.write_scrape(&Scrape { at: clock::now_ms(), life: self.life.clone(), exposed }) {
            self.log.line("ERROR", "stub", &format!("{error:#}"));
        }
    }

    /// The page of a scrape; recorded as exposed before a reader can have it.
    fn scrape(&mut self, started: Instant) -> String {
        if let Some(page) = &self.frozen {
            return page.clone();
        }
        let now = Instant::now();
        self.engine.advance(now);
        self.engine.burst(self.events_per_scrape);
        let context = Context {
            now: clock::now_ms(),
            uptime_seconds: now.duration_since(started).as_secs(),
            scrapes: self.scrapes,
            tap: self.tap,
            internal_metrics: self.internal_metrics,
        };
        let page = exposition::render(&self.engine, context);
        self.scrapes += 1;
        self.engine.expose();
        self.write_totals();
        self.write_scrape();
        self.last_page.clone_from(&page);
        page
    }

    /// Carries out a request; some end the process.
    fn command(&mut self, command: Command) -> Option<End> {
        let now = Instant::now();
        match command {
            Command::Pause => self.engine.pause(now),
            Command::Resume => self.engine.resume(now),
            Command::Burst(events) => self.engine.burst(events),
            Command::Crash(code, lines) => {
                (0..lines).for_each(|_| self.log.numbered(self.engine.events));
                self.log.last_words();
                self.write_totals();
                return Some(End::Exit(code));
            }
            Command::Exit0 => return Some(End::Exit(0)),
            Command::Abort(number) => return Signal::try_from(number).ok().map(End::Signal),
            Command::Hang => self.hangs = true,
            Command::Unhang => self.hangs = false,
            Command::IgnoreSigterm => self.heeds_sigterm = false,
            Command::HeedSigterm => self.heeds_sigterm = true,
            Command::Flood(lines) => (0..lines).for_each(|_| self.log.numbered(self.engine.events)),
            Command::TornUtf8 => self.log.torn(),
            Command::LongLine(bytes) => self.log.raw(format!("{}\n", "x".repeat(bytes)).as_bytes()),
            Command::Freeze => self.frozen = Some(self.last_page.clone()),
            Command::Unfreeze => self.frozen = None,
            Command::DropSeries(component, metric) => {
                self.engine.with_series(&component, metric, super::topology::Series::drop_out);
            }
            Command::MissSeries(component, metric) => {
                self.engine.with_series(&component, metric, super::topology::Series::miss);
            }
            Command::RestoreSeries(component, metric) => {
                self.engine.with_series(&component, metric, super::topology::Series::come_back);
            }
            Command::Expire => self.engine.expire(clock::now_ms()),
            Command::Reset => self.engine.reset(),
            Command::Tap(on) => self.tap = on,
        }
        self.write_totals();
        None
    }
}

impl Stub {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(self: Arc<Self>, mut stream: TcpStream) {
        let Some(request) = http::read_request(&mut stream).await else { return };
        match (request.method.as_str(), request.target.as_str()) {
            ("GET", target) if target.split('?').next() == Some("/metrics") => {
                if self.lock().hangs {
                    // Holds the connection open until the process ends.
                    return std::future::pending().await;
                }
                self.answering.send_modify(|count| *count += 1);
                let page = self.lock().scrape(self.started);
                http::respond(stream, "200 OK", &page).await;
                self.answering.send_modify(|count| *count -= 1);
            }
            ("POST", target) => match target.strip_prefix("/control/").and_then(Command::parse) {
                Some(command) => {
                    let end = self.lock().command(command);
                    http::respond(stream, "200 OK", "ok\n").await;
                    if let Some(end) = end {
                        // Full means that the process ends already.
                        let _ = self.end.try_send(end);
                    }
                }
                None => http::respond(stream, "400 Bad Request", "no such command\n").await,
            },
            _ => http::respond(stream, "404 Not Found", "not here\n").await,
        }
    }
}

async fn run(settings: Settings, log: Logger, life: String, configs: &str) -> anyhow::Result<End> {
    let started = Instant::now();
    log.started(configs);
    let (end, mut ends) = mpsc::channel(ENDS);
    let stub = Arc::new(Stub {
        state: Mutex::new(State {
            engine: Engine::new(&settings, started),
            log,
            totals: settings.totals.clone().map(TotalsFile::open).transpose()?,
            life,
            started_at: clock::now_ms(),
            address: None,
            scrapes: 0,
            events_per_scrape: settings.events_per_scrape,
            paced_lines: 0,
            tap: settings.tap,
            internal_metrics: settings.internal_metrics,
            hangs: false,
            heeds_sigterm: !settings.ignore_sigterm,
            frozen: None,
            last_page: String::new(),
        }),
        started,
        end,
        answering: watch::Sender::new(0),
    });
    stub.lock().write_totals();

    let mut terminations = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut tick = interval(Duration::from_millis(settings.tick_ms));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let opening = open(&stub, &settings);
    tokio::pin!(opening);
    let mut listener: Option<TcpListener> = None;
    if let Some(address) = settings.api_address {
        let listener =
            TcpListener::bind(address).await.with_context(|| format!("Failed to bind gRPC API server to {address}"))?;
        let ids = stub.lock().engine.components.iter().map(|component| component.id.clone()).collect();
        tokio::spawn(tap::serve(listener, ids, settings.rate));
    }
    let crash = sleep(Duration::from_millis(settings.crash_after_ms.unwrap_or(u64::from(u32::MAX))));
    tokio::pin!(crash);
    let lease = lease_ends(settings.lease_pid);
    tokio::pin!(lease);

    let mut end_at: Option<Instant> = None;
    let end = loop {
        let drained = sleep_until(end_at.unwrap_or(started));
        tokio::select! {
            // SIGTERM first: what comes at the same moment comes too late.
            biased;
            _ = terminations.recv() => {
                let state = stub.lock();
                if state.heeds_sigterm && end_at.is_none() {
                    state.log.stopping();
                    end_at = Some(Instant::now() + Duration::from_millis(settings.drain_ms));
                }
            }
            () = drained, if end_at.is_some() => {
                let state = stub.lock();
                state.log.stopped();
                state.write_totals();
                break End::Exit(0);
            }
            Some(end) = ends.recv() => break end,
            () = &mut lease => break End::Exit(0),
            () = &mut crash => {
                stub.lock().command(Command::Crash(1, 0));
                break End::Exit(1);
            }
            opened = &mut opening, if listener.is_none() => listener = Some(opened?),
            _ = tick.tick() => advance(&stub, settings.log_rate),
            accepted = accept(listener.as_ref()) => {
                tokio::spawn(Arc::clone(&stub).serve(accepted.context("accept")?));
            }
        }
    };
    let mut answering = stub.answering.subscribe();
    let _ = timeout(LAST_ANSWERS, answering.wait_for(|count| *count == 0)).await;
    Ok(end)
}

async fn open(stub: &Stub, settings: &Settings) -> anyhow::Result<TcpListener> {
    sleep(Duration::from_millis(settings.start_delay_ms)).await;
    let listener = TcpListener::bind(settings.metrics_address)
        .await
        .with_context(|| format!("Building HTTP server failed. address={}", settings.metrics_address))?;
    let mut state = stub.lock();
    state.address = Some(listener.local_addr().context("own address")?);
    state.write_totals();
    let text = format!("Building HTTP server. address={}", listener.local_addr()?);
    state.log.line("INFO", "vector::sinks::prometheus::exporter", &text);
    Ok(listener)
}

/// Resolves when the holder of the lease is gone.
async fn lease_ends(holder: Option<u32>) {
    let Some(pid) = holder else { return std::future::pending().await };
    let holder = PathBuf::from(format!("/proc/{pid}"));
    // Where there is no /proc nothing can be said.
    while holder.exists() || !Path::new("/proc/self").exists() {
        sleep(LEASE).await;
    }
}

async fn accept(listener: Option<&TcpListener>) -> std::io::Result<TcpStream> {
    match listener {
        Some(listener) => Ok(listener.accept().await?.0),
        None => std::future::pending().await,
    }
}

/// Lets events pass and writes the log lines that are due.
fn advance(stub: &Stub, log_rate: f64) {
    let mut state = stub.lock();
    let now = Instant::now();
    let mut changed = state.engine.advance(now);
    let due = (now.duration_since(stub.started).as_secs_f64() * log_rate) as u64;
    while state.paced_lines < due {
        let events = state.engine.events;
        state.log.numbered(events);
        state.paced_lines += 1;
        changed = true;
    }
    if changed {
        state.write_totals();
    }
}
