//! Where a cost stands on an axis, and which costs are written below it.

/// An axis, linear or logarithmic.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    log: bool,
}

impl Scale {
    /// An axis that holds all of these ranges, logarithmic where they are far apart. `None` if there is nothing to show.
    pub(super) fn of(ranges: impl Iterator<Item = (f64, f64)>) -> Option<Self> {
        let (low, high) = ends(ranges.flat_map(|(low, high)| [low, high]))?;
        if high / low > FAR {
            return Some(Self { low: low / 1.1, high: high * 1.1, log: true });
        }
        let margin = ((high - low) * 0.05).max(high * 0.01);
        Some(Self { low: (low - margin).max(0.0), high: high + margin, log: false })
    }

    /// A logarithmic axis that holds all of these values.
    pub(super) fn logarithmic(values: impl Iterator<Item = f64>) -> Option<Self> {
        let (low, high) = ends(values)?;
        Some(Self { low: low / 1.1, high: high * 1.1, log: true })
    }

    /// Whether a value is on the axis.
    pub(super) fn holds(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }

    /// In percent of the width; what is beyond an end stands at it.
    pub(super) fn place(&self, value: f64) -> f64 {
        let value = value.clamp(self.low, self.high);
        let share = if self.log {
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        100.0 * share
    }

    /// Round values to write, two to seven of them.
    pub(super) fn ticks(&self) -> Vec<f64> {
        let all: Vec<f64> = if self.log { self.decades() } else { self.steps() };
        // Of a long axis every second, or third.
        let every = all.len().div_ceil(MOST);
        all.into_iter().step_by(every.max(1)).collect()
    }

    fn decades(&self) -> Vec<f64> {
        let from = self.low.log10().floor() as i32;
        let to = self.high.log10().ceil() as i32;
        let parts: &[f64] = if self.high / self.low > 300.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let all = (from..=to).flat_map(|e| parts.iter().map(move |p| p * 10_f64.powi(e)));
        all.filter(|v| self.holds(*v)).collect()
    }

    fn steps(&self) -> Vec<f64> {
        let rough = (self.high - self.low) / 6.0;
        let power = 10_f64.powi(rough.log10().floor() as i32);
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|p| p * power).find(|s| *s >= rough).unwrap_or(rough);
        let first = (self.low / step).ceil() as i64;
        let last = (self.high / step).floor() as i64;
        (first..=last).map(|n| n as f64 * step).collect()
    }
}

fn ends(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let fine = values.filter(|v| v.is_finite() && *v > 0.0);
    fine.fold(None, |ends: Option<(f64, f64)>, v| Some(ends.map_or((v, v), |(l, h)| (l.min(v), h.max(v)))))
}

/// From this factor between its ends on an axis is logarithmic.
const FAR: f64 = 4.0;
const MOST: usize = 7;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_within_the_picture_and_in_order() {
        for ranges in [vec![(1.0, 1.1)], vec![(80.0, 95.0), (900.0, 1e6)], vec![(5.0, 5.0)]] {
            let scale = Scale::of(ranges.iter().copied()).expect("a scale");
            let (low, high) = (ranges[0].0, ranges.last().expect("one").1);
            let (a, b) = (scale.place(low), scale.place(high));
            assert!((0.0..=100.0).contains(&a) && (0.0..=100.0).contains(&b) && a <= b, "{a} {b}");
            assert_eq!((scale.place(0.0), scale.place(1e12)), (0.0, 100.0));
            let ticks = scale.ticks();
            assert!((1..=MOST).contains(&ticks.len()) && ticks.iter().all(|t| scale.holds(*t)), "{ticks:?}");
        }
        assert!(Scale::of([(0.0, f64::NAN)].into_iter()).is_none());
    }

    #[test]
    fn ticks_are_round() {
        let scale = Scale::of([(182e6, 262e6)].into_iter()).expect("a scale");
        assert_eq!(scale.ticks(), [180e6, 200e6, 220e6, 240e6, 260e6]);
        let scale = Scale::of([(0.9, 12.0)].into_iter()).expect("a scale");
        assert_eq!(scale.ticks(), [1.0, 2.0, 5.0, 10.0]);
    }
}
