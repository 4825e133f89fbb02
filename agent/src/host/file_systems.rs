//! Space of the file systems on devices.
//!
//! A walk asks one mount after another on a thread. When a mount does not answer, the walk is given
//! up together with its thread, the mount is left out until it answers, and another thread continues
//! after it. So one mount costs one thread and its own values, and nothing else.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::statvfs::statvfs;
use tokio::time::Instant;

use super::mounts::{self, DeviceKey};

/// How long one walk may take without an answer: local file systems answer within microseconds.
const WALK_TIMEOUT: Duration = Duration::from_millis(100);

/// Threads that may wait for mounts that do not answer. Each holds a stack; a host with more dead
/// devices than this has no use for the sum of the rest.
const MAX_STUCK: usize = 4;

/// Bytes of a file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Space {
    pub(super) total: u64,
    pub(super) used: u64,
    pub(super) free: u64,
}

/// Asks a mount point for its space; another one in tests.
type Ask = Arc<dyn Fn(&Path) -> io::Result<Space> + Send + Sync>;

/// Mount points that have not answered, and whether that was logged.
type Stuck = Arc<Mutex<BTreeMap<PathBuf, bool>>>;

/// Reads the space of all file systems on devices.
pub(super) struct FileSystems {
    mountinfo: PathBuf,
    ask: Ask,
    stuck: Stuck,
}

/// A walk over mounts, shared by the thread that does it and the task that waits for it.
#[derive(Default)]
struct Walk {
    next: VecDeque<(DeviceKey, PathBuf)>,
    /// The one that is being asked.
    at: Option<PathBuf>,
    answers: Vec<(DeviceKey, Space)>,
    is_given_up: bool,
}

impl Default for FileSystems {
    fn default() -> Self {
        FileSystems { mountinfo: "/proc/self/mountinfo".into(), ask: Arc::new(ask), stuck: Stuck::default() }
    }
}

fn ask(point: &Path) -> io::Result<Space> {
    let system = statvfs(point)?;
    let bytes = |blocks: u64| blocks.saturating_mul(system.fragment_size());
    // As df counts: what is reserved for root is neither used nor free for users.
    Ok(Space {
        total: bytes(system.blocks()),
        used: bytes(system.blocks().saturating_sub(system.blocks_free())),
        free: bytes(system.blocks_available()),
    })
}

impl FileSystems {
    /// Reads the sum within `time`; `None` when nothing is known.
    pub(super) async fn read(&self, time: Duration) -> Option<Space> {
        let deadline = Instant::now() + time;
        self.log_stuck();
        let next: VecDeque<(DeviceKey, PathBuf)> = {
            let stuck = lock(&self.stuck);
            let devices = mounts::read(&self.mountinfo).ok()?;
            let points = devices
                .into_iter()
                .flat_map(|(key, device)| device.points.into_iter().map(move |point| (key.clone(), point)));
            points.filter(|(_, point)| !stuck.contains_key(point)).collect()
        };
        let walk = Arc::new(Mutex::new(Walk { next, ..Walk::default() }));
        self.walk(walk, deadline).await
    }

    async fn walk(&self, mut walk: Arc<Mutex<Walk>>, deadline: Instant) -> Option<Space> {
        while lock(&self.stuck).len() < MAX_STUCK {
            let (shared, ask, stuck) = (walk.clone(), self.ask.clone(), self.stuck.clone());
            let thread = tokio::task::spawn_blocking(move || run(&shared, &ask, &stuck));
            let left = deadline.saturating_duration_since(Instant::now()).min(WALK_TIMEOUT);
            if tokio::time::timeout(left, thread).await.is_ok() {
                break;
            }
            let mut stuck = lock(&self.stuck);
            let mut given_up = lock(&walk);
            given_up.is_given_up = true;
            // Without one, the thread did not even begin: the machine is busy.
            let rest = Walk {
                next: std::mem::take(&mut given_up.next),
                answers: std::mem::take(&mut given_up.answers),
                ..Walk::default()
            };
            if let Some(point) = given_up.at.clone() {
                stuck.insert(point, false);
            }
            drop(given_up);
            walk = Arc::new(Mutex::new(rest));
            if Instant::now() >= deadline {
                break;
            }
        }
        let answers = std::mem::take(&mut lock(&walk).answers);
        sum(answers)
    }

    /// One that still does not answer a report later is worth a line, once.
    fn log_stuck(&self) {
        for (point, is_logged) in lock(&self.stuck).iter_mut() {
            if !std::mem::replace(is_logged, true) {
                tracing::warn!(
                    mount = %point.display(),
                    "the file system does not answer; its values are missing until it does, all others continue"
                );
            }
        }
    }
}

/// Asks the mounts of a walk, until it is given up.
fn run(walk: &Mutex<Walk>, ask: &Ask, stuck: &Stuck) {
    loop {
        let (key, point) = {
            let mut walk = lock(walk);
            walk.at = None;
            if walk.is_given_up {
                return;
            }
            let Some((key, point)) = walk.next.pop_front() else { return };
            walk.at = Some(point.clone());
            (key, point)
        };
        let answer = ask(&point);
        // In this order everywhere: a walk is given up with both locks held.
        let mut stuck = lock(stuck);
        let mut walk = lock(walk);
        if walk.is_given_up {
            if stuck.remove(&point) == Some(true) {
                tracing::info!(mount = %point.display(), "the file system answers again");
            }
            return;
        }
        walk.answers.extend(answer.ok().filter(|space| space.total > 0).map(|space| (key, space)));
    }
}

/// Of a device that is mounted several times the largest answer counts: a quota shows less. Data sets
/// of a pool share what is free, and what each uses adds up.
fn sum(answers: Vec<(DeviceKey, Space)>) -> Option<Space> {
    let mut devices: BTreeMap<DeviceKey, Space> = BTreeMap::new();
    for (key, space) in answers {
        let is_pool = matches!(key, DeviceKey::Pool(_));
        let known = devices.entry(key).or_default();
        if is_pool {
            known.used = known.used.saturating_add(space.used);
            known.free = known.free.max(space.free);
            known.total = known.used.saturating_add(known.free);
        } else if space.total > known.total {
            *known = space;
        }
    }
    devices.into_values().reduce(|one, other| Space {
        total: one.total.saturating_add(other.total),
        used: one.used.saturating_add(other.used),
        free: one.free.saturating_add(other.free),
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is after it is whole after every statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Condvar;

    use super::*;

    const TIME: Duration = Duration::from_secs(5);

    fn space(total: u64) -> Space {
        Space { total, used: total / 2, free: total / 4 }
    }

    /// Devices at `/0`, `/1`, …, of which those in `stuck` do not answer until they are released.
    fn file_systems(
        dir: &Path,
        count: u32,
        stuck: &'static [&'static str],
    ) -> (FileSystems, Arc<(Mutex<bool>, Condvar)>) {
        let mountinfo = dir.join("mountinfo");
        let lines: String = (0..count).map(|n| format!("{n} 1 8:{n} / /{n} rw - ext4 /dev/sd{n} rw\n")).collect();
        std::fs::write(&mountinfo, lines).unwrap();
        let released = Arc::new((Mutex::new(false), Condvar::new()));
        let gate = released.clone();
        let ask: Ask = Arc::new(move |point: &Path| {
            if stuck.iter().any(|stuck| point == Path::new(stuck)) {
                drop(gate.1.wait_while(gate.0.lock().unwrap(), |released| !*released).unwrap());
            }
            Ok(space(100))
        });
        (FileSystems { mountinfo, ask, stuck: Stuck::default() }, released)
    }

    fn release(gate: &(Mutex<bool>, Condvar)) {
        *gate.0.lock().unwrap() = true;
        gate.1.notify_all();
    }

    #[tokio::test]
    async fn mount_that_does_not_answer_costs_its_own_space_and_one_thread_until_it_answers() {
        let dir = tempfile::tempdir().unwrap();
        let (systems, gate) = file_systems(dir.path(), 3, &["/1"]);
        for _ in 0..3 {
            assert_eq!(systems.read(TIME).await.unwrap().total, 200);
            assert_eq!(lock(&systems.stuck).keys().collect::<Vec<_>>(), [Path::new("/1")]);
        }
        assert!(lock(&systems.stuck)[Path::new("/1")], "it was logged");
        release(&gate);
        while !lock(&systems.stuck).is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(systems.read(TIME).await.unwrap().total, 300);
    }

    #[tokio::test]
    async fn threads_that_wait_for_mounts_are_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let (systems, gate) = file_systems(dir.path(), 9, &["/0", "/1", "/2", "/3", "/4", "/5"]);
        for _ in 0..4 {
            systems.read(TIME).await;
            assert!(lock(&systems.stuck).len() <= MAX_STUCK);
        }
        assert_eq!(lock(&systems.stuck).len(), MAX_STUCK);
        release(&gate);
    }

    #[test]
    fn data_sets_of_a_pool_share_what_is_free() {
        let pool = || DeviceKey::Pool("tank".into());
        let set = |used| (pool(), Space { total: used + 60, used, free: 60 });
        let disk = |total| (DeviceKey::Number(8, 1), space(total));
        let expected = Space { total: 100 + 200, used: 40 + 100, free: 60 + 50 };
        assert_eq!(sum(vec![set(30), set(10), disk(80), disk(200)]), Some(expected));
        assert_eq!(sum(Vec::new()), None);
    }
}
