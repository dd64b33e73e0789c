//! The arithmetic of `bench` on figures whose truth is known.

use awf_probe_matrix::bench::{Finding, LEAST_ROUNDS, Round, bootstrap, compare, finding, median, spread};
use proptest::prelude::*;

/// Noise as a busy machine makes it: a common drift from visit to visit, a share of each sandbox's own, a little of
/// each sample's, and now and then a sample that takes many times as long.
struct Machine(u64);

impl Machine {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }

    /// So many rounds of sandboxes with these true costs, visited forth and back. What is added is so whatever the
    /// machine does, as a sleep is.
    fn rounds(&mut self, costs: &[f64], added: &[f64], rounds: usize) -> Vec<Vec<Round>> {
        let mut all = vec![Vec::new(); costs.len()];
        for _ in 0..rounds {
            let mut drift: f64 = 0.1 * self.normal();
            let own: Vec<f64> = costs.iter().map(|c| c * (0.02 * self.normal()).exp()).collect();
            let mut round = vec![Round::new(); costs.len()];
            for arm in (0..costs.len()).chain((0..costs.len()).rev()) {
                drift += 0.02 * self.normal();
                let visit = (0..5).map(|_| {
                    let slow = if self.uniform() < 0.03 { 8.0 } else { 1.0 };
                    own[arm] * (drift + 0.05 * self.normal()).exp() * slow + added[arm]
                });
                round[arm].push(visit.collect());
            }
            all.iter_mut().zip(round).for_each(|(a, r)| a.push(r));
        }
        all
    }
}

/// Reference, twin and candidate of this cost.
fn found(seed: u64, reference: f64, times: f64, added: f64, rounds: usize) -> (Finding, bool, bool) {
    let all = Machine(seed).rounds(&[reference, reference, reference * times], &[0.0, 0.0, added], rounds);
    let noise = compare(&all[0], &all[1], "noise").expect("figures");
    let c = compare(&all[0], &all[2], "candidate").expect("figures");
    (finding(&c, Some(&noise)), c.ratio.holds(times), c.difference.holds(added))
}

#[test]
fn the_reference_against_itself_is_no_difference() {
    for rounds in [LEAST_ROUNDS, 12, 30] {
        let none = (0..400).filter(|n| found(*n * 7919, 1000.0, 1.0, 0.0, rounds).0 == Finding::NoDifference).count();
        assert!(none >= 380, "{rounds} rounds: {none} of 400");
    }
}

#[test]
fn a_fifth_more_is_found_with_its_size() {
    let all: Vec<_> = (0..200).map(|n| found(n * 104_729, 3000.0, 1.2, 0.0, 20)).collect();
    let (more, inside) = (all.iter().filter(|f| f.0 == Finding::More).count(), all.iter().filter(|f| f.1).count());
    assert!(more >= 190 && inside >= 190, "found {more}, size inside {inside} of 200");
}

#[test]
fn five_milliseconds_more_are_found_with_their_size() {
    let all: Vec<_> = (0..200).map(|n| found(n * 15_485_863, 80e6, 1.0, 5e6, 60)).collect();
    let (more, inside) = (all.iter().filter(|f| f.0 == Finding::More).count(), all.iter().filter(|f| f.2).count());
    assert!(more >= 190 && inside >= 190, "found {more}, size inside {inside} of 200");
}

#[test]
fn too_few_rounds_tell_nothing() {
    assert_eq!(found(1, 1.0, 100.0, 0.0, LEAST_ROUNDS - 1).0, Finding::Untold);
    assert!(compare(&[], &[], "").is_none());
    assert!(compare(&[vec![vec![1.0]]], &[vec![]], "").is_none(), "a round that was not measured is none");
    assert!(compare(&[vec![vec![1.0]]], &[vec![vec![0.0]]], "").is_none(), "nothing takes no time");
}

proptest! {
    #[test]
    fn the_same_figures_give_the_same_interval(numbers in prop::collection::vec(-1e9..1e9_f64, 1..60)) {
        let (a, b) = (bootstrap(&numbers, "x"), bootstrap(&numbers, "x"));
        prop_assert_eq!(a, b);
        prop_assert!(a.low <= a.high && a.holds(a.value), "{:?}", a);
        let (least, most) = numbers.iter().fold((f64::MAX, f64::MIN), |(l, m), v| (l.min(*v), m.max(*v)));
        prop_assert!(least <= a.low && a.high <= most);
    }

    #[test]
    fn order_does_not_matter_to_a_median(mut numbers in prop::collection::vec(0.0..1e9_f64, 1..60)) {
        let before = median(&numbers);
        numbers.reverse();
        prop_assert_eq!(median(&numbers), before);
        let round = vec![vec![numbers.clone()]];
        let s = spread(&round).expect("figures");
        prop_assert!(s.min <= s.q1 && s.q1 <= s.median && s.median <= s.q3 && s.q3 <= s.max);
        prop_assert!(s.outliers < s.samples.max(1) && s.samples == numbers.len());
    }

    #[test]
    fn a_unit_changes_no_ratio(seed in any::<u64>(), factor in 1e-3..1e6_f64) {
        let all = Machine(seed).rounds(&[1.0, 1.3], &[0.0, 0.0], 12);
        let scaled: Vec<Vec<Round>> = all
            .iter()
            .map(|a| a.iter().map(|r| r.iter().map(|v| v.iter().map(|s| s * factor).collect()).collect()).collect())
            .collect();
        let (a, b) = (compare(&all[0], &all[1], "s"), compare(&scaled[0], &scaled[1], "s"));
        let (a, b) = (a.expect("figures").ratio, b.expect("figures").ratio);
        prop_assert!((a.value / b.value - 1.0).abs() < 1e-9 && (a.low / b.low - 1.0).abs() < 1e-9);
    }
}
