//! Prints how fast events are read: `cargo run --release -p tol-events --example speed`.

use std::hint::black_box;
use std::time::Instant;

use tol_events::binding::json;
use tol_events::commerce::OrderPlaced;
use tol_events::event::EncodedEvent;
use tol_events::usage::FeatureUsed;
use tol_events::{Attribute, Currency, DomainEvent, Event, EventTime, Money, registry, upcast};

/// Events a second, the best of several runs.
fn rate(name: &str, events: usize, mut run: impl FnMut()) {
    let best = (0..20)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..20 {
                run();
            }
            start.elapsed().as_secs_f64() / 20.0
        })
        .fold(f64::INFINITY, f64::min);
    println!("{name:<44} {:>12.0} events/s  {:>7.0} ns each", events as f64 / best, best * 1e9 / events as f64);
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let usd: Currency = "USD".parse()?;
    let mut orders: Vec<Event> = Vec::new();
    let mut uses: Vec<EncodedEvent> = Vec::new();
    for number in 0..500u32 {
        let customer = format!("{}", number % 97);
        let order =
            OrderPlaced { order_id: format!("order-{number}").into(), customer_id: customer.as_str().into(), total: Money::new(1177, usd), items: Vec::new() };
        let time = EventTime::from_secs(1_700_000_000 + i64::from(number));
        let mut event = order.to_event(format!("0d8f6a52-7c1f-4a7b-9e0c-{number:012}"), "/shops/main")?.at(time);
        event.unset(Attribute::DataSchema).set(Attribute::CorrelationId, format!("request-{number}"));
        orders.push(event);
        uses.push(FeatureUsed { customer_id: customer.as_str().into(), feature: "export".into(), count: 2 }.to_event(number.to_string(), "/app")?.encode());
    }
    let batch = json::encode_batch(&orders);
    println!("batch of {} events, {} bytes each", orders.len(), batch.len() / orders.len());
    let encoded: Vec<EncodedEvent> = orders.iter().map(Event::encode).collect();

    json::decode_batch(&batch)?;
    rate("JSON batch to events", orders.len(), || {
        let _ = black_box(json::decode_batch(black_box(&batch)));
    });
    rate("events to JSON batch", orders.len(), || {
        black_box(json::encode_batch(black_box(&orders)));
    });
    rate("typed decoding, order_placed", encoded.len(), || {
        for event in &encoded {
            let _ = black_box(event.view().data_as::<OrderPlaced<'_>>());
        }
    });
    rate("typed decoding, feature_used", uses.len(), || {
        for event in &uses {
            let _ = black_box(event.view().data_as::<FeatureUsed<'_>>());
        }
    });
    rate("lookup of a known type", encoded.len(), || {
        for event in &encoded {
            black_box(registry::known(event.view().event_type()));
        }
    });
    rate("validation as admission does it", encoded.len(), || {
        for event in &encoded {
            let _ = black_box(registry::validate(&event.view()));
        }
    });
    rate("upcast of a newest version", encoded.len(), || {
        for event in &encoded {
            let _ = black_box(upcast::upcast(event.view()));
        }
    });
    Ok(())
}
