//! Monthly recurring revenue: the monthly amount of a subscription, and the class of a movement.

use tol_events::billing::Interval;
use tol_events::revenue::MrrClass;

const MONTHS_IN_A_YEAR: i128 = 12;

/// What a subscription brings a month, in minor units: `quantity × unit_price`, a year's price divided by 12.
///
/// Rounded half to even, once, on the whole subscription: four yearly seats of 500.00 are 166.67 a month, not 4 × 41.67.
/// `None` when it does not fit 64 bits.
pub fn monthly_minor(interval: Interval, quantity: u64, unit_price_minor: i64) -> Option<i64> {
    let price = i128::from(quantity).checked_mul(i128::from(unit_price_minor))?;
    let monthly = match interval {
        Interval::Month => price,
        Interval::Year => divided_half_to_even(price, MONTHS_IN_A_YEAR),
    };
    i64::try_from(monthly).ok()
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
pub fn class_of(before: i64, after: i64, had_mrr_before: bool) -> Option<MrrClass> {
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

    #[test]
    fn a_year_is_divided_by_twelve_and_rounded_half_to_even() {
        // 6/12 = 0.5 → 0; 18/12 = 1.5 → 2; 30/12 = 2.5 → 2; 7/12 → 1; 200000/12 = 16666.67 → 16667
        for (price, monthly) in [(0, 0), (6, 0), (18, 2), (30, 2), (7, 1), (5, 0), (12, 1), (200_000, 16_667)] {
            assert_eq!(monthly_minor(Interval::Year, 1, price), Some(monthly), "{price}");
        }
        assert_eq!(monthly_minor(Interval::Year, 4, 50_000), Some(16_667));
        assert_eq!(monthly_minor(Interval::Month, 3, 5_000), Some(15_000));
    }

    #[test]
    fn what_does_not_fit_is_not_wrapped_around() {
        assert_eq!(monthly_minor(Interval::Month, u64::MAX, i64::MAX), None);
        assert_eq!(monthly_minor(Interval::Month, 2, i64::MAX), None);
        assert_eq!(monthly_minor(Interval::Year, 12, i64::MAX), Some(i64::MAX));
    }
}
