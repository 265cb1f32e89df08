//! The messages of a run and the faults at Twilio, generated from a seed.

use std::sync::LazyLock;
use std::time::Duration;

use serde_json::{Value, json};

use super::random::Random;

/// The maximum pause before the next message.
const MAX_PAUSE: Duration = Duration::from_millis(1_000);
/// Inbound messages. Some are opt-outs for Twilio and the service, some only for the service, and some only look like
/// one.
const INBOUND_BODIES: &[&str] = &[
    "The heating is off again",
    "Gracias, mañana estoy en casa",
    "can you stop by tomorrow?",
    "👍",
    "Does the 12th work for you?",
    "Rent is on its way",
    "Ok obrigado",
    "STOP",
    "BAJA",
    "please stop texting me",
    "START",
    "START",
    "START",
];

/// Endings of outbound messages, some of which Smart Encoding changes. The number at the start of a message identifies
/// it.
const ENDINGS: &[&str] = &[
    "your rent is due.",
    "your rent is due.",
    "“your rent” – it’s due…",
    "your\u{a0}rent is\u{202f}due.",
    "your\trent\tis due.",
    "man\u{303}ana vence el alquiler, sen\u{303}ora Nun\u{303}ez.",
    "o aluguel vence amanha\u{303}; voce\u{302} ja\u{301} pagou?",
    "‹your rent› is\u{200b} due‼",
    "“sua conta” está atrasada, não é?",
    "“your rent” is due 🏠",
    "your rent\u{3} is\u{2060} due\u{2028}½ today, ½ ᴛomorrow‗",
];

/// A message that an API client sends.
#[derive(Debug, Clone)]
pub struct PlannedSend {
    pub to: String,
    /// Unique per message.
    pub body: String,
    pub priority: &'static str,
    pub smart_encoding: Option<&'static str>,
    pub pause: Duration,
    /// The simulator's fault for this message, set before the send.
    pub fault: Option<Value>,
}

/// A message that a tenant sends.
#[derive(Debug, Clone)]
pub struct PlannedInbound {
    pub from: String,
    pub body: String,
    /// The number of concurrent webhooks for the message.
    pub copies: u64,
    pub pause: Duration,
}

/// The plan of a run.
#[derive(Debug)]
pub struct Plan {
    pub sends: Vec<PlannedSend>,
    pub inbound: Vec<PlannedInbound>,
}

impl Plan {
    /// Plans a run with this number of outbound messages.
    pub fn new(seed: u64, messages: usize) -> Self {
        let mut random = Random::new(seed);
        let handsets = (messages / 3).max(1) as u64;
        let handset = |random: &mut Random| format!("+1203{:07}", 5_550_000 + random.below(handsets));
        let sends = (0..messages).map(|number| {
            let id = format!("Message {number} of {seed}:");
            let ending = match random.below(3) {
                0 => smart_encoding_characters(&mut random),
                _ => (*random.pick(ENDINGS)).to_owned(),
            };
            PlannedSend {
                to: handset(&mut random),
                fault: fault(&mut random, &id),
                body: format!("{id} {ending}"),
                priority: random.pick::<&str>(&["urgent", "normal", "normal", "bulk"]),
                smart_encoding: *random.pick(&[None, None, None, Some("punctuation"), Some("all")]),
                pause: random.up_to(MAX_PAUSE),
            }
        });
        let sends = sends.collect();
        let inbound = (0..messages / 2).map(|number| {
            let body = *random.pick(INBOUND_BODIES);
            let is_keyword = body.chars().all(|letter| !letter.is_lowercase());
            PlannedInbound {
                from: handset(&mut random),
                body: if is_keyword { body.to_owned() } else { format!("{body} ({number})") },
                copies: *random.pick(&[1, 1, 1, 2, 5]),
                pause: random.up_to(MAX_PAUSE),
            }
        });
        let inbound = inbound.collect();
        Self { sends, inbound }
    }
}

/// Returns a text with three characters that Smart Encoding replaces.
///
/// They are between digits, so that combining characters do not combine with letters. The API rejects NUL.
fn smart_encoding_characters(random: &mut Random) -> String {
    static MAP: LazyLock<Vec<String>> = LazyLock::new(|| {
        let published: Value =
            serde_json::from_str(include_str!("../../../twilio-simulator/src/api/smart_encoding.json"))
                .unwrap();
        let map = published["map"].as_object().unwrap();
        map.keys().filter(|character| *character != "\0").cloned().collect()
    });
    let [a, b, c] = [(); 3].map(|()| random.pick(&MAP).clone());
    format!("rent for flat 1{a}2{b}3{c}4 is due.")
}

/// Returns the fault of a message at Twilio. More than half of the messages have none.
fn fault(random: &mut Random, id: &str) -> Option<Value> {
    if random.chance(55) {
        return None;
    }
    let accept = random.chance(50);
    let fault = match random.below(16) {
        0 => json!({ "kind": "rate_limited", "retry_after": 1 }),
        1 => json!({ "kind": "rate_limited" }),
        2 => json!({ "kind": "error", "code": 21611 }),
        3 => json!({ "kind": "server_error", "accept": accept }),
        4 => json!({ "kind": "server_error", "accept": accept, "status": 503 }),
        5 => json!({ "kind": "reset_after_read", "accept": accept }),
        6 => json!({ "kind": "reset_before_read" }),
        7 => json!({ "kind": "hang", "accept": accept, "seconds": 4 }),
        8 => json!({ "kind": "slow", "ms": random.below(3_000) }),
        9 => json!({ "kind": "late", "ms": random.below(3_000) }),
        10 => json!({ "kind": random.pick(&["truncated", "garbled"]) }),
        11 => json!({ "kind": "error", "code": random.pick(&[21211, 21408, 21610, 21612, 21614, 30007]) }),
        12 => json!({ "kind": "undelivered", "code": random.pick(&[30003, 30005, 30006, 30008]) }),
        13 => json!({ "kind": "failed", "code": random.pick(&[30007, 30022]) }),
        14 => json!({ "kind": "sent_only" }),
        _ => callbacks(random, true),
    };
    let mut request = json!({ "match": { "body_contains": id }, "fault": fault });
    if matches!(fault["kind"].as_str(), Some("rate_limited")) {
        request["count"] = (1 + random.below(4)).into();
    }
    // Some messages have faulty callbacks as well.
    if random.chance(30) && fault["kind"] != "callbacks" && fault["kind"] != "sent_only" {
        request["callbacks"] = callbacks(random, false);
    }
    Some(request)
}

fn callbacks(random: &mut Random, alone: bool) -> Value {
    let mode = *random.pick(&["late", "doubled", "reordered", "lost", "early"]);
    let mut callbacks = json!({ "mode": mode, "delay_ms": random.below(4_000) });
    if alone {
        callbacks["kind"] = "callbacks".into();
    }
    callbacks
}
