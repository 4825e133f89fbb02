//! Faults of a connection, and the schedule that selects them.

use std::fmt;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Environment variable with the seed of [`FaultSchedule::random`].
const SEED: &str = "SYSTOLE_CHAOS_SEED";

/// A fault of a connection. Exchanges are turns (bytes up, then bytes down), from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultPlan {
    /// Forwarded unchanged for this many exchanges, and closed when the next one begins.
    Pass {
        /// 0: no limit.
        exchanges: u64,
    },
    /// Bytes wait. A request that waits for over 2 s looks to a collector like a wrong clock.
    Delay {
        /// Before the first bytes of each request.
        request: Duration,
        /// Before the first bytes of each answer.
        answer: Duration,
    },
    /// Cut within a request, or right before it.
    CutRequest {
        /// In this exchange.
        exchange: u64,
        /// After this many bytes of it; before the next exchange when it has fewer.
        after: usize,
    },
    /// Cut within a response, or right before it: the request has taken effect.
    CutAnswer {
        /// In this exchange.
        exchange: u64,
        /// After this many bytes of it; before the next exchange when it has fewer.
        after: usize,
    },
    /// Bytes come in small pieces.
    Trickle {
        /// Bytes of a piece.
        piece: usize,
        /// Between two pieces.
        pause: Duration,
    },
    /// Taken, and reset at once.
    Reset,
    /// Taken, never answered, reset in the end.
    BlackHole {
        /// Until then.
        held: Duration,
    },
    /// Reset, and the port is closed for a while.
    Refuse {
        /// For so long.
        gone: Duration,
    },
    /// A request is sent twice, on separate connections.
    Duplicate(Twin),
}

/// The way in which a request is sent twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Twin {
    /// Both at once; else the second when the first is answered.
    pub together: bool,
    /// The client receives the second response; else the first.
    pub second_answers: bool,
}

impl FaultPlan {
    /// For counting.
    pub fn name(&self) -> &'static str {
        match self {
            FaultPlan::Pass { .. } => "pass",
            FaultPlan::Delay { .. } => "delay",
            FaultPlan::CutRequest { .. } => "cut request",
            FaultPlan::CutAnswer { .. } => "cut answer",
            FaultPlan::Trickle { .. } => "trickle",
            FaultPlan::Reset => "reset",
            FaultPlan::BlackHole { .. } => "black hole",
            FaultPlan::Refuse { .. } => "refuse",
            FaultPlan::Duplicate(_) => "duplicate",
        }
    }

    /// Any of them, with times that an agent survives which reports every second: no request waits
    /// long enough to look like a wrong clock.
    fn random(random: &mut StdRng) -> Self {
        let ms = |random: &mut StdRng, most| Duration::from_millis(random.random_range(10..=most));
        let exchange = random.random_range(1..=3);
        match random.random_range(0..100) {
            0..20 => FaultPlan::Pass { exchanges: exchange },
            20..32 => FaultPlan::Delay { request: ms(random, 800), answer: ms(random, 1_500) },
            32..46 => FaultPlan::CutRequest { exchange, after: random.random_range(0..3_000) },
            46..54 => FaultPlan::CutAnswer { exchange, after: 0 },
            54..64 => FaultPlan::CutAnswer { exchange, after: random.random_range(1..400) },
            64..72 => FaultPlan::Trickle { piece: random.random_range(300..4_000), pause: ms(random, 30) },
            72..76 => FaultPlan::Reset,
            76..80 => FaultPlan::BlackHole { held: ms(random, 2_000) },
            80..84 => FaultPlan::Refuse { gone: ms(random, 700) },
            _ => FaultPlan::Duplicate(Twin { together: random.random(), second_answers: random.random() }),
        }
    }
}

/// Selects the faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultSchedule {
    /// A seed.
    Random {
        /// It.
        seed: u64,
    },
    /// The same for all.
    Always(FaultPlan),
}

impl FaultSchedule {
    /// Nothing happens.
    pub const CALM: FaultSchedule = FaultSchedule::Always(FaultPlan::Pass { exchanges: 0 });

    /// With the seed of the environment, or else a new one; a failing test prints it.
    pub fn random() -> Self {
        let given = std::env::var(SEED).ok().map(|seed| seed.parse().expect("a seed is a number"));
        FaultSchedule::Random { seed: given.unwrap_or_else(rand::random) }
    }

    /// The plan of the n-th connection.
    pub fn of_connection(self, number: u64) -> FaultPlan {
        match self {
            FaultSchedule::Random { seed } => {
                // An odd factor keeps neighbouring numbers of neighbouring seeds apart.
                let own = seed ^ (number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                FaultPlan::random(&mut StdRng::seed_from_u64(own))
            }
            FaultSchedule::Always(plan) => plan,
        }
    }
}

impl fmt::Display for FaultSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FaultSchedule::Random { seed } => write!(f, "{SEED}={seed} meets the same schedule"),
            FaultSchedule::Always(plan) => write!(f, "{plan:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn fault_schedule_depends_on_the_seed_alone() {
        let schedule =
            |seed| -> Vec<FaultPlan> { (0..200).map(|n| FaultSchedule::Random { seed }.of_connection(n)).collect() };
        assert_eq!(schedule(7), schedule(7));
        assert_ne!(schedule(7), schedule(8));
        let kinds: HashSet<&str> = schedule(7).iter().map(FaultPlan::name).collect();
        assert_eq!(kinds.len(), 9, "every plan comes: {kinds:?}");
    }
}
