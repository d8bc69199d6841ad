//! Recurring revenue movements and recognised revenue.
