//! Monthly recurring revenue: the monthly amount of a subscription, and the class of a movement.

use tol_events::billing::Interval;
use tol_events::revenue::MrrClass;

/// Months of a year: what older events say of a month is a twelfth of a year.
pub(crate) const MONTHS: i64 = 12;

/// The price of a whole subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price {
    /// How often it is billed.
    pub interval: Interval,
    /// Intervals between two bills, 1 or more.
    pub count: u32,
    /// Seats or units.
    pub quantity: u64,
    /// Minor units of one unit for `count` intervals.
    pub unit_minor: i64,
}

impl Price {
    /// What it brings a year, in minor units, rounded half to even, once. `None` when it does not fit 64 bits.
    pub fn annual(self) -> Option<i64> {
        let (times, divisor) = self.a_year();
        self.times(times, divisor)
    }

    /// What it brings a month, in minor units: a twelfth of the year's exact price, rounded half to even, once, on the whole subscription.
    ///
    /// Four yearly seats of 500.00 are 166.67 a month, not 4 × 41.67. `None` when it does not fit 64 bits.
    pub fn monthly(self) -> Option<i64> {
        let (times, divisor) = self.a_year();
        self.times(times, divisor * 12)
    }

    /// A year's price as a fraction of that of one bill. A year has 12 months, 4 quarters, 52 weeks and 365 days.
    fn a_year(self) -> (i128, i128) {
        let bills = match self.interval {
            Interval::Day => 365,
            Interval::Week => 52,
            Interval::Month => 12,
            Interval::Quarter => 4,
            Interval::Year => 1,
        };
        (bills, i128::from(self.count.max(1)))
    }

    fn times(self, times: i128, divisor: i128) -> Option<i64> {
        let bill = i128::from(self.quantity).checked_mul(i128::from(self.unit_minor))?;
        i64::try_from(divided_half_to_even(bill.checked_mul(times)?, divisor)).ok()
    }
}

fn divided_half_to_even(dividend: i128, divisor: i128) -> i128 {
    let (quotient, twice_rest) = (dividend.div_euclid(divisor), 2 * dividend.rem_euclid(divisor));
    let rounds_up = twice_rest > divisor || (twice_rest == divisor && quotient % 2 != 0);
    quotient + i128::from(rounds_up)
}

/// The class of a movement of one customer's total in one currency; `None` when the total stays.
///
/// The classes are those of ChartMogul (help centre, "Understanding MRR movements"): a customer whose total had been above zero before and
/// comes back from zero is a reactivation, so cancelling one of two subscriptions is a contraction, cancelling the last one is churn.
pub fn class_of(before: i128, after: i128, had_mrr_before: bool) -> Option<MrrClass> {
    match (before, after) {
        _ if before == after => None,
        (0, _) if had_mrr_before => Some(MrrClass::Reactivation),
        (0, _) => Some(MrrClass::New),
        (_, 0) => Some(MrrClass::Churn),
        _ if after > before => Some(MrrClass::Expansion),
        _ => Some(MrrClass::Contraction),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn price(interval: Interval, count: u32, quantity: u64, unit_minor: i64) -> Price {
        Price { interval, count, quantity, unit_minor }
    }

    #[test]
    fn a_year_is_divided_by_twelve_and_rounded_half_to_even() {
        // 6/12 = 0.5 → 0; 18/12 = 1.5 → 2; 30/12 = 2.5 → 2; 7/12 → 1; 200000/12 = 16666.67 → 16667
        for (yearly, monthly) in [(0, 0), (6, 0), (18, 2), (30, 2), (7, 1), (5, 0), (12, 1), (200_000, 16_667)] {
            assert_eq!(price(Interval::Year, 1, 1, yearly).monthly(), Some(monthly), "{yearly}");
        }
        assert_eq!(price(Interval::Year, 1, 4, 50_000).monthly(), Some(16_667));
        assert_eq!(price(Interval::Month, 1, 3, 5_000).monthly(), Some(15_000));
    }

    #[test]
    fn intervals_and_their_counts_come_to_exact_years() {
        // interval, count, price of a bill, a month, a year
        let cases = [
            (Interval::Day, 1, 100, 3_042, 36_500),    // 36500/12 = 3041.67
            (Interval::Day, 30, 100, 101, 1_217),      // 36500/30 = 1216.67, /12 = 101.39
            (Interval::Week, 1, 1_000, 4_333, 52_000), // 52000/12 = 4333.33
            (Interval::Week, 2, 1_000, 2_167, 26_000), // 26000/12 = 2166.67
            (Interval::Month, 1, 1_000, 1_000, 12_000),
            (Interval::Month, 6, 6_001, 1_000, 12_002), // 12002/12 = 1000.17
            (Interval::Quarter, 1, 1_000, 333, 4_000),
            (Interval::Quarter, 2, 1_000, 167, 2_000), // 2000/12 = 166.67
            (Interval::Year, 1, 10_000, 833, 10_000),  // ARR is not 12 × 833
            (Interval::Year, 3, 10_000, 278, 3_333),   // 3333.33/12 = 277.78
        ];
        for (interval, count, bill, monthly, annual) in cases {
            let price = price(interval, count, 1, bill);
            assert_eq!((price.monthly(), price.annual()), (Some(monthly), Some(annual)), "{price:?}");
        }
    }

    #[test]
    fn what_does_not_fit_is_not_wrapped_around() {
        assert_eq!(price(Interval::Month, 1, u64::MAX, i64::MAX).monthly(), None);
        assert_eq!(price(Interval::Month, 1, 2, i64::MAX).monthly(), None);
        assert_eq!(price(Interval::Day, 1, u64::MAX, i64::MAX).annual(), None);
        assert_eq!(price(Interval::Year, 1, 12, i64::MAX).monthly(), Some(i64::MAX));
        assert_eq!(price(Interval::Year, 1, 1, i64::MAX).annual(), Some(i64::MAX));
    }
}
