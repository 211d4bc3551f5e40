//! Samples, and ways of taking them in turns.

use std::time::Duration;

use crate::Outcome;

/// Times of one thing measured many times, shortest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series(Vec<Duration>);

impl FromIterator<Duration> for Series {
    fn from_iter<I: IntoIterator<Item = Duration>>(times: I) -> Series {
        let mut times: Vec<Duration> = times.into_iter().collect();
        times.sort_unstable();
        Series(times)
    }
}

impl Series {
    /// How many samples there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The shortest time that at least so many percent of the samples do not exceed.
    pub(crate) fn percentile(&self, percent: f64) -> Duration {
        let rank = (percent / 100.0 * self.0.len() as f64).ceil() as usize;
        let found = self.0.get(rank.saturating_sub(1)).or(self.0.last());
        found.copied().unwrap_or_default()
    }
}

/// One thing to measure: takes one sample.
pub(crate) type Sample<'a> = Box<dyn FnMut() -> Outcome<Duration> + 'a>;

/// Measures several things in turns, so that what disturbs the machine disturbs all alike.
///
/// The first of each `warm_up` rounds are not counted.
pub(crate) fn in_turns(
    things: &mut [Sample<'_>],
    warm_up: usize,
    rounds: usize,
) -> Outcome<Vec<Series>> {
    let mut times = vec![Vec::with_capacity(rounds); things.len()];
    for round in 0..warm_up + rounds {
        for (thing, times) in things.iter_mut().zip(&mut times) {
            let time = thing()?;
            if round >= warm_up {
                times.push(time);
            }
        }
    }
    Ok(times.into_iter().map(Series::from_iter).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    #[test]
    fn a_percentile_is_the_nearest_rank() {
        let series: Series = (1..=200).rev().map(Duration::from_nanos).collect();
        let at = |percent| series.percentile(percent).as_nanos();
        assert_eq!((at(50.0), at(99.0), at(100.0)), (100, 198, 200));
        assert_eq!(Series::default().percentile(50.0), Duration::ZERO);
    }

    #[test]
    fn the_warm_up_is_not_counted_and_turns_alternate() {
        let order = std::cell::RefCell::new(Vec::new());
        let thing = |number: u64| -> Sample<'_> {
            let order = &order;
            Box::new(move || {
                order.borrow_mut().push(number);
                Ok(Duration::from_nanos(number))
            })
        };
        let series = in_turns(&mut [thing(1), thing(2)], 1, 2).unwrap();
        assert_eq!(*order.borrow(), [1, 2, 1, 2, 1, 2]);
        assert_eq!((series[0].len(), series[1].len()), (2, 2));
        assert_eq!(series[1].percentile(50.0).as_nanos(), 2);
    }
}
