//! How much slower than usual this host is: one factor, measured by the harness, by which deadlines grow.
//!
//! Only deadlines: nothing that is measured, and no settle time that a verdict rests on, gets shorter by it. A host of
//! ordinary speed has the factor 1.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

/// Name of the variable by which a container is told.
pub const PACE_ENV: &str = "AWF_PROBE_PACE";

/// Tenths; 0 until it is known.
static TENTHS: AtomicU32 = AtomicU32::new(0);

/// What a container takes to start on a host of ordinary speed, with a wide margin. Slower is slow.
const ORDINARY: Duration = Duration::from_millis(1000);
const MOST: u32 = 300;

/// Takes the factor from how long the first container of a run took to start.
pub fn measured(start: Duration) {
    TENTHS.store(factor(start), Ordering::Relaxed);
}

fn factor(start: Duration) -> u32 {
    let tenths = start.as_millis().saturating_mul(10) / ORDINARY.as_millis();
    u32::try_from(tenths).unwrap_or(MOST).clamp(10, MOST)
}

/// The factor in tenths.
pub fn tenths() -> u32 {
    let known = TENTHS.load(Ordering::Relaxed);
    if known != 0 {
        return known;
    }
    let given = std::env::var(PACE_ENV).ok().and_then(|v| v.parse::<u32>().ok()).unwrap_or(10).clamp(10, MOST);
    TENTHS.store(given, Ordering::Relaxed);
    given
}

/// What a container is told by its environment: nothing on a host of ordinary speed.
pub fn told() -> Option<String> {
    (tenths() > 10).then(|| format!("{PACE_ENV}={}", tenths()))
}

/// A deadline on this host.
pub fn scaled(usual: Duration) -> Duration {
    usual * tenths() / 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_host_gets_more_time_and_a_fast_one_no_less() {
        assert_eq!(factor(Duration::ZERO), 10);
        assert_eq!(factor(Duration::from_millis(300)), 10);
        assert_eq!(factor(Duration::from_millis(5500)), 55);
        assert_eq!(factor(Duration::from_secs(3600)), MOST);
        assert_eq!(scaled(Duration::from_secs(30)), Duration::from_secs(30), "where nothing was measured");
    }
}
