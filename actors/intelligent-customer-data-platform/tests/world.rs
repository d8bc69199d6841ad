//! A small world of subjects that talk to each other: each input is decided from its subject's state, and messages are delivered in any order.

use std::collections::{BTreeMap, BTreeSet};

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use serde_json::Value;
use tol_events::engagement::{Aliased, IdentifierRef, Tracked};
use tol_events::{Attribute, DomainEvent as _, Event, EventTime};
use tol_intelligent_customer_data_platform::{IntelligentCustomerDataPlatform, State};
use tol_system::{Decision, Evolution, Input, System as _};

pub const NAME: &str = "intelligent-customer-data-platform";

/// A call as a test says it: who, with whom, when, and whether it is an alias call.
#[derive(Clone, Debug)]
pub struct Said {
    pub me: &'static str,
    pub with: Vec<&'static str>,
    pub at: i64,
    pub alias: bool,
}

pub fn kind(id: &str) -> &'static str {
    match id.as_bytes()[0] {
        b'u' => "user_id",
        b'e' => "email",
        _ => "anonymous_id",
    }
}

pub fn fact(number: usize, said: &Said) -> Event {
    let links: Vec<IdentifierRef> = said.with.iter().map(|id| IdentifierRef { identifier_id: (*id).into(), identifier_type: kind(id).into() }).collect();
    let id = format!("call-{number}");
    let event = if said.alias {
        Aliased { identifier_id: said.me.into(), identifier_type: kind(said.me).into(), links, ..Aliased::default() }.to_event(id, "/sdk")
    } else {
        Tracked { identifier_id: said.me.into(), identifier_type: kind(said.me).into(), links, event: "Seen".into(), ..Tracked::default() }.to_event(id, "/sdk")
    };
    event.unwrap().at(EventTime::from_secs(1_767_268_800 + said.at))
}

const IDS: [&str; 22] = ["u0", "u1", "u2", "u3", "u4", "u5", "a0", "a1", "a2", "a3", "a4", "a5", "a6", "a7", "a8", "a9", "e0", "e1", "e2", "e3", "a10", "a11"];

/// Calls of a few people who share devices and addresses.
pub fn calls(random: &mut StdRng, count: usize) -> Vec<Said> {
    (0..count)
        .map(|_| {
            let mut who: Vec<&'static str> = IDS.to_vec();
            who.shuffle(random);
            who.truncate(random.random_range(1..=3));
            // Strong identifiers come first, as the door orders them.
            who.sort_by_key(|id| match kind(id) {
                "user_id" => 0,
                "email" => 1,
                _ => 2,
            });
            let alias = who.len() > 1 && random.random_bool(0.1);
            Said { me: who[0], with: who[1..].to_vec(), at: random.random_range(0..1_000), alias }
        })
        .collect()
}

/// What follows from everything that was said: profiles with their identifiers, and merges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub profiles: BTreeSet<(String, Vec<String>)>,
    pub merges: BTreeSet<(String, String, String)>,
    pub refused: BTreeSet<String>,
}

#[derive(Default)]
pub struct World {
    system: IntelligentCustomerDataPlatform,
    pub states: BTreeMap<String, State>,
    waiting: Vec<Event>,
    /// Whether a message may come before an earlier one of the same subject.
    overtaking: bool,
    pub emitted: Vec<Event>,
}

impl World {
    pub fn with(overtaking: bool) -> Self {
        Self { overtaking, ..Self::default() }
    }

    /// Tells facts and delivers messages, whichever comes first, until nothing waits.
    pub fn play(&mut self, facts: Vec<Event>, random: &mut StdRng) {
        self.waiting.extend(facts);
        let mut steps = 0;
        while !self.waiting.is_empty() {
            let at = random.random_range(0..self.waiting.len());
            let event = self.waiting.remove(self.first_of(at));
            self.decide(&event);
            steps += 1;
            assert!(steps < 200_000, "subjects answer each other for ever");
        }
    }

    /// As the log has it, what one subject tells comes in its order; a message that overtakes is there to show that the graph does not mind.
    fn first_of(&self, at: usize) -> usize {
        let chosen = &self.waiting[at];
        let own = |event: &Event| event.get(Attribute::Source).starts_with("/systems/");
        if self.overtaking || !own(chosen) {
            return at;
        }
        let same = |event: &Event| own(event) && event.get(Attribute::Subject) == chosen.get(Attribute::Subject);
        self.waiting.iter().position(same).unwrap_or(at)
    }

    fn decide(&mut self, event: &Event) {
        let encoded = event.encode();
        let view = encoded.view();
        let input = Input::Event(view);
        let subject = input.subject().to_owned();
        let state = self.states.entry(subject.clone()).or_default();
        let mut decision = Decision::new(NAME, view.source(), view.id());
        self.system.decide(state, input, &mut decision).unwrap();
        for (index, draft) in decision.finish().unwrap().into_iter().enumerate() {
            let id = tol_events::id::derived(NAME, view.source(), view.id(), index as u32).to_string();
            let mut own = Event::new(id, format!("/systems/{NAME}"), draft.event_type, &subject).at(draft.time.unwrap_or(view.time().unwrap()));
            own.data = draft.data;
            if let Some(target) = draft.target {
                own.set(Attribute::Target, target);
            }
            self.system.evolve(state, own.encode().view(), &mut Evolution::default()).unwrap();
            if own.attributes.contains_key(&Attribute::Target) {
                self.waiting.push(own.clone());
            }
            self.emitted.push(own);
        }
    }

    /// The home where the graph of an identifier ended.
    pub fn home_of(&self, identifier: &str) -> String {
        let mut home = tol_intelligent_customer_data_platform::graph::profile_of(identifier);
        while let Some(next) = self.states.get(&format!("profile/{home}")).and_then(|state| state.home.moved_to.clone()) {
            assert!(next < home, "a home moves to smaller ids only");
            home = next;
        }
        home
    }

    /// What the homes say, that did not move.
    pub fn outcome(&self) -> Outcome {
        let mut outcome = Outcome::default();
        let mut last: BTreeMap<&str, &Event> = BTreeMap::new();
        for event in self.emitted.iter().filter(|event| event.get(Attribute::Type) == "cdp.profiles_resolved.v1") {
            last.insert(event.get(Attribute::Subject), event);
        }
        for (subject, event) in last {
            if self.states[subject].home.moved_to.is_some() {
                continue;
            }
            let data: Value = event.data_as().unwrap();
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            for profile in data["profiles"].as_array().unwrap() {
                let ids = profile["identifiers"].as_array().unwrap().iter().map(|one| text(&one["identifier_id"])).collect();
                outcome.profiles.insert((text(&profile["profile_id"]), ids));
            }
            outcome
                .merges
                .extend(data["merges"].as_array().unwrap().iter().map(|merge| (text(&merge["merge_id"]), text(&merge["kept"]), text(&merge["merged"]))));
            outcome.refused.extend(data["refused"].as_array().into_iter().flatten().map(text));
        }
        outcome
    }

    /// Merges that were told and not taken back.
    pub fn told(&self) -> BTreeSet<String> {
        let mut counts: BTreeMap<String, i32> = BTreeMap::new();
        for event in &self.emitted {
            let step = match event.get(Attribute::Type) {
                "cdp.profiles_merged.v1" => 1,
                "cdp.profiles_unmerged.v1" => -1,
                _ => continue,
            };
            let data: Value = event.data_as().unwrap();
            *counts.entry(data["merge_id"].as_str().unwrap().to_owned()).or_default() += step;
        }
        assert!(counts.values().all(|count| (-1..=1).contains(count)), "{counts:?}");
        counts.into_iter().filter(|(_, count)| *count > 0).map(|(merge, _)| merge).collect()
    }
}
