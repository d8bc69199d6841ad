//! gbstats' and scipy's values in `feature-flags/experiment-reference-values.json` of the data folder, to 1e-6.

use std::path::PathBuf;

use serde_json::Value;
use tol_enterprise_feature_flag_system::statistics::frequentist::{self, Difference, Estimate, Side};
use tol_enterprise_feature_flag_system::statistics::sample_ratio;
use tol_enterprise_feature_flag_system::statistics::summary::{self, Covariate, Summary};

/// The file's text, or a line that says that it is not there.
fn reference() -> Option<Value> {
    let folder = std::env::var_os("TOL_DATA").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"), PathBuf::from);
    let path = folder.join("feature-flags/experiment-reference-values.json");
    match std::fs::read(&path) {
        Ok(text) => Some(serde_json::from_slice(&text).expect("reference values")),
        Err(_) => {
            println!("skipped: no {} (set TOL_DATA)", path.display());
            None
        }
    }
}

/// Largest deviation and number of values compared.
#[derive(Default)]
struct Comparison {
    values: usize,
    largest: f64,
}

impl Comparison {
    fn value(&mut self, what: &str, got: f64, expected: &Value) {
        let expected = expected.as_f64().unwrap_or_else(|| panic!("{what}: {expected} is no number"));
        let deviation = (got - expected).abs();
        assert!(deviation <= 1e-6, "{what}: {got}, expected {expected}");
        self.values += 1;
        self.largest = self.largest.max(deviation);
    }

    fn estimate(&mut self, what: &str, got: Option<Estimate>, expected: &Value) {
        let got = got.unwrap_or_else(|| panic!("{what}: no estimate"));
        self.value(what, got.effect, &expected["expected"]);
        self.value(what, got.interval[0], &expected["ci"][0]);
        self.value(what, got.interval[1], &expected["ci"][1]);
        self.value(what, got.p_value, &expected["p"]);
    }
}

fn entries<'a>(reference: &'a Value, name: &str) -> &'a [Value] {
    reference[name].as_array().unwrap_or_else(|| panic!("no list {name}"))
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

fn count(value: &Value) -> u64 {
    value.as_u64().expect("a count")
}

fn difference(case: &Value) -> Difference {
    if case["difference"] == "relative" { Difference::Relative } else { Difference::Absolute }
}

fn proportions(case: &Value) -> (Summary, Summary) {
    (Summary::proportion(count(&case["n_a"]), count(&case["x_a"])), Summary::proportion(count(&case["n_b"]), count(&case["x_b"])))
}

#[test]
fn all_reference_values_are_met() {
    let Some(reference) = reference() else { return };
    let mut comparison = Comparison::default();
    for case in entries(&reference, "two_sided_t") {
        let (a, b) = proportions(case);
        comparison.estimate("two_sided_t", frequentist::two_sided(&a, &b, difference(case), number(&case["alpha"])), case);
    }
    for case in entries(&reference, "sequential") {
        let (a, b) = proportions(case);
        let estimate = frequentist::sequential(&a, &b, difference(case), number(&case["alpha"]), number(&case["tuning_n"]), Side::TwoSided);
        comparison.estimate("sequential", estimate, case);
    }
    for case in entries(&reference, "cuped") {
        let arm = |arm: &Value| Covariate {
            subjects: count(&case["n"]),
            sum: number(&arm["post"][0]),
            sum_squares: number(&arm["post"][1]),
            before: number(&arm["pre"][0]),
            before_squares: number(&arm["pre"][1]),
            products: number(&arm["cross"]),
        };
        let (a, b) = (arm(&case["a"]), arm(&case["b"]));
        let plain = |arm: &Covariate| Summary::Mean(arm.sums());
        let (adjusted_a, adjusted_b) = summary::adjust(&a, &b);
        comparison.value("theta", summary::theta(&a, &b), &case["theta"]);
        comparison.estimate("cuped plain", frequentist::two_sided(&plain(&a), &plain(&b), Difference::Absolute, 0.05), &case["plain"]);
        comparison.estimate("cuped adjusted", frequentist::two_sided(&adjusted_a, &adjusted_b, Difference::Absolute, 0.05), &case["adjusted"]);
    }
    for case in entries(&reference, "srm") {
        let users: Vec<u64> = case["users"].as_array().expect("users").iter().map(count).collect();
        let weights: Vec<f64> = case["weights"].as_array().expect("weights").iter().map(number).collect();
        comparison.value("srm", sample_ratio::p_value(&users, &weights).unwrap(), &case["p"]);
    }
    println!("{} reference values met, largest deviation {:e}", comparison.values, comparison.largest);
    assert!(comparison.values >= 94, "only {} values were compared", comparison.values);
}
