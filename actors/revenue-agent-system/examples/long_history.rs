//! How fast the agent decides the facts of one customer with a long history, in order and up to three hours late: `cargo run --release -p
//! tol-revenue-agent-system --example long_history -- 100000`. Prints facts a second for each tenth of the history, and the size of the state at the end.

use std::time::Instant;

use tol_events::{Attribute, Event, EventTime};
use tol_revenue_agent_system::RevenueAgentSystem;
use tol_system::{Decision, Evolution, Input, erase};

/// Seconds between two facts.
const APART: i64 = 60;
const LATE: i64 = 3 * 3_600;

fn fact(number: i64) -> Event {
    let usd = |minor: i64| serde_json::json!({"minor": minor, "currency": "USD"});
    let (event_type, data) = match number % 3 {
        0 => {
            let data = serde_json::json!({"subscription_id": format!("s{}", number % 7), "plan": "p", "interval": "month", "quantity": 1, "unit_price": usd(number % 900)});
            ("billing.subscription_changed.v1", data)
        }
        1 => ("commerce.order_placed.v1", serde_json::json!({"order_id": format!("o{number}"), "total": usd(100)})),
        _ => (
            "billing.payment_succeeded.v1",
            serde_json::json!({"payment_id": format!("p{number}"), "amount": usd(100), "order_id": format!("o{}", number - 1)}),
        ),
    };
    let mut data = data;
    data["customer_id"] = "7".into();
    let mut fact = Event::new(format!("f{number}"), "/shop", event_type, "customer/7").at(EventTime::from_secs(1_767_225_600 + number * APART));
    fact.data = data.to_string().into_bytes();
    fact
}

fn main() {
    let count: i64 = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(100_000);
    for late in [false, true] {
        let mut arrivals: Vec<(i64, i64)> = (0..count)
            .map(|number| {
                // Spread without order over three hours (Knuth's multiplicative hash).
                let spread = (number as u64).wrapping_mul(2_654_435_761) % (LATE as u64);
                (number * APART + if late { spread as i64 } else { 0 }, number)
            })
            .collect();
        arrivals.sort_unstable();
        let system = erase(RevenueAgentSystem);
        let mut state = system.empty_state();
        let tenth = (arrivals.len() / 10).max(1);
        let (mut rates, mut own) = (Vec::new(), 0);
        for part in arrivals.chunks(tenth) {
            let started = Instant::now();
            for (arrives, number) in part {
                let mut fact = fact(*number);
                fact.set(Attribute::RecordedTime, EventTime::from_secs(1_767_225_600 + arrives).to_string());
                let encoded = fact.encode();
                let mut decision = Decision::new("revenue-agent-system", "/shop", fact.get(Attribute::Id));
                let decided = system.decide(&state, Input::Event(encoded.view()), &mut decision).and_then(|()| decision.finish());
                // As the runtime does: folded into a copy first.
                let mut folded = system.copy_state(&state);
                for draft in decided.unwrap_or_default() {
                    let mut event = Event::new("own", "/systems/revenue-agent-system", draft.event_type, "customer/7").at(draft.time.unwrap_or_default());
                    event.set(Attribute::CausationId, fact.get(Attribute::Id));
                    event.data = draft.data;
                    own += usize::from(system.evolve(&mut folded, event.encode().view(), &mut Evolution::default()).is_ok());
                }
                state = folded;
            }
            rates.push((part.len() as f64 / started.elapsed().as_secs_f64()) as u64);
        }
        let bytes = system.write_state(&state).map_or(0, |bytes| bytes.len());
        let how = if late { "up to three hours late" } else { "in order" };
        println!("{count} facts of one customer, {how}: {rates:?} facts/s by tenth, {own} own events, state of {bytes} bytes");
    }
}
