//! The arithmetic of `awf-probe bench`: medians, ratios, intervals, and what may be called a difference.
//!
//! The independent unit is the round: every round has sandboxes of its own, so what one sandbox happens to have (its
//! place in memory, its files' blocks) is part of the noise and not of the result. Within a round reference and
//! candidate are visited as A B B A, so a drift of the machine falls on both alike. A round gives one number, the
//! logarithm of how much more the candidate took; the answer is the median of these, and its interval a bootstrap over
//! rounds. Everything is deterministic: the bootstrap's numbers come from a seed that is the bench's own name.

use crate::IsolationClass;

/// The samples of one visit to a sandbox: cost of one operation, in the bench's unit.
pub type Visit = Vec<f64>;
/// The visits of one round to one sandbox.
pub type Round = Vec<Visit>;

/// Fewer rounds give no interval of the confidence that is claimed: of 8 numbers without a tendency, all are on the
/// same side of it once in 128 times.
pub const LEAST_ROUNDS: usize = 8;
/// Share of intervals that hold the true value.
pub const CONFIDENCE: f64 = 0.99;
const RESAMPLES: usize = 4000;

/// A value with its interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The estimate.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Interval {
    /// Whether a value lies inside.
    pub fn holds(&self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }

    /// Half the width, as a share of the value.
    pub fn precision(&self) -> f64 {
        if self.value == 0.0 { f64::INFINITY } else { (self.high - self.low) / 2.0 / self.value.abs() }
    }
}

/// How one sandbox's costs compare with the reference's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// Candidate divided by reference.
    pub ratio: Interval,
    /// Candidate minus reference, in the bench's unit.
    pub difference: Interval,
    /// Rounds in which both were measured.
    pub rounds: usize,
}

/// What may be said of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It costs more.
    More,
    /// It costs less.
    Less,
    /// The interval spans 1, or lies within what the reference differs from itself.
    NoDifference,
    /// Too few rounds.
    Untold,
}

impl Finding {
    /// The word used in reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::More => "more",
            Self::Less => "less",
            Self::NoDifference => "no difference",
            Self::Untold => "untold",
        }
    }
}

/// Compares round by round; rounds that one of them lacks are left out.
pub fn compare(reference: &[Round], candidate: &[Round], seed: &str) -> Option<Comparison> {
    let pairs: Vec<(&Round, &Round)> =
        reference.iter().zip(candidate).filter(|(a, b)| has_figures(a) && has_figures(b)).collect();
    if pairs.is_empty() {
        return None;
    }
    let log = |round: &Round| mean(round.iter().filter_map(|v| median(v)).map(f64::ln));
    let plain = |round: &Round| mean(round.iter().filter_map(|v| median(v)));
    let logs: Vec<f64> = pairs.iter().map(|(a, b)| log(b) - log(a)).collect();
    let plains: Vec<f64> = pairs.iter().map(|(a, b)| plain(b) - plain(a)).collect();
    let ratio = bootstrap(&logs, seed);
    Some(Comparison {
        ratio: Interval { value: ratio.value.exp(), low: ratio.low.exp(), high: ratio.high.exp() },
        difference: bootstrap(&plains, seed),
        rounds: pairs.len(),
    })
}

/// What may be said, given what the reference differs from itself.
pub fn finding(comparison: &Comparison, noise: Option<&Comparison>) -> Finding {
    let ratio = &comparison.ratio;
    if comparison.rounds < LEAST_ROUNDS {
        return Finding::Untold;
    }
    let band = noise.map_or(0.0, |n| n.ratio.low.ln().abs().max(n.ratio.high.ln().abs()));
    let inside = ratio.low.ln() >= -band && ratio.high.ln() <= band;
    if ratio.holds(1.0) || inside {
        Finding::NoDifference
    } else if ratio.value > 1.0 {
        Finding::More
    } else {
        Finding::Less
    }
}

fn has_figures(round: &Round) -> bool {
    let mut medians = round.iter().map(|v| median(v));
    !round.is_empty() && medians.all(|m| m.is_some_and(|m| m.is_finite() && m > 0.0))
}

/// The median and its interval, by drawing as many numbers again and again.
pub fn bootstrap(numbers: &[f64], seed: &str) -> Interval {
    let value = median(numbers).unwrap_or(f64::NAN);
    let mut random = Random::new(seed);
    let mut drawn = vec![0.0; numbers.len()];
    let mut medians: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            drawn.iter_mut().for_each(|d| *d = numbers[random.below(numbers.len())]);
            drawn.sort_by(f64::total_cmp);
            quantile(&drawn, 0.5)
        })
        .collect();
    medians.sort_by(f64::total_cmp);
    let tail = (1.0 - CONFIDENCE) / 2.0;
    Interval { value, low: quantile(&medians, tail), high: quantile(&medians, 1.0 - tail) }
}

/// A set of samples, with what stands out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// How many.
    pub samples: usize,
    /// Median.
    pub median: f64,
    /// First quartile.
    pub q1: f64,
    /// Third quartile.
    pub q3: f64,
    /// Smallest.
    pub min: f64,
    /// Largest.
    pub max: f64,
    /// Samples further than 1.5 times the distance of the quartiles from the nearer of them.
    pub outliers: usize,
}

/// Looks at all samples of a sandbox's rounds.
pub fn spread(rounds: &[Round]) -> Option<Spread> {
    let mut all: Vec<f64> = rounds.iter().flatten().flatten().copied().filter(|v| v.is_finite()).collect();
    all.sort_by(f64::total_cmp);
    let (min, max) = (*all.first()?, *all.last()?);
    let (q1, q3) = (quantile(&all, 0.25), quantile(&all, 0.75));
    let fence = 1.5 * (q3 - q1);
    let outliers = all.iter().filter(|v| **v < q1 - fence || **v > q3 + fence).count();
    Some(Spread { samples: all.len(), median: quantile(&all, 0.5), q1, q3, min, max, outliers })
}

/// The median of numbers in any order.
pub fn median(numbers: &[f64]) -> Option<f64> {
    if numbers.is_empty() {
        return None;
    }
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    Some(quantile(&sorted, 0.5))
}

/// A quantile of sorted numbers, between two of them in proportion.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let at = share * last as f64;
    let below = at.floor() as usize;
    let above = (below + 1).min(last);
    sorted[below] + (sorted[above] - sorted[below]) * (at - below as f64)
}

fn mean(numbers: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = numbers.fold((0.0, 0.0), |(s, n), v| (s + v, n + 1.0));
    sum / count
}

/// SplitMix64, seeded with a text.
struct Random(u64);

impl Random {
    fn new(seed: &str) -> Self {
        // FNV-1a.
        Self(seed.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)))
    }

    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        ((u128::from(z) * n as u128) >> 64) as usize
    }
}

/// A runtime as `bench` met it.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Name at the engine.
    pub name: String,
    /// First line of its `--version`.
    pub version: String,
    /// Executable and arguments.
    pub command: String,
    /// SHA-256 of the executable.
    pub sha256: String,
    /// How far it is from the host's kernel, as measured before the first round.
    pub class: Option<IsolationClass>,
    /// The host's time divided by the time its sandboxes claim to have taken, over all visits.
    pub clock: Option<f64>,
    /// Why there are no figures of it.
    pub unusable: Option<String>,
}

/// The figures of one bench.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Id of the bench.
    pub id: String,
    /// What is measured.
    pub title: String,
    /// How.
    pub how: String,
    /// `ns` or `bytes`.
    pub unit: &'static str,
    /// The reference's rounds.
    pub reference: Vec<Round>,
    /// Those of its twin: the reference's runtime in a sandbox of its own.
    pub twin: Vec<Round>,
    /// Those of the candidates, in the order in which they were asked for.
    pub candidates: Vec<Vec<Round>>,
    /// Why a runtime has fewer rounds than others, or none.
    pub missing: Vec<(String, String)>,
}

/// Everything `bench` measured.
#[derive(Clone, Debug)]
pub struct Bench {
    /// Version of awf-probe.
    pub version: String,
    /// When it began.
    pub started: String,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// `quick` or `full`.
    pub suite: String,
    /// Seconds it was given.
    pub budget: u64,
    /// Half the width of an interval that is narrow enough, as a share of its value.
    pub precision: f64,
    /// Facts of the machine: name and value.
    pub machine: Vec<(String, String)>,
    /// The reference.
    pub reference: Subject,
    /// The candidates.
    pub candidates: Vec<Subject>,
    /// The figures.
    pub benches: Vec<Figures>,
}
