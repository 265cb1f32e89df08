//! What people do and what goes wrong at Twilio, all of it from a seed.

use std::sync::LazyLock;
use std::time::Duration;

use serde_json::{Value, json};

use super::dice::Dice;

/// How long somebody thinks before the next message, at most.
const PAUSE: Duration = Duration::from_millis(1_000);
/// What tenants write. Some of it is a refusal to Twilio and us, some to us alone, some only looks like one.
const TEXTS: &[&str] = &[
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

/// What ends a message: with some of it, Twilio's Smart Encoding makes another text than was sent. Letters and digits of the
/// ends tell no messages apart; the number at a message's start does.
const ENDS: &[&str] = &[
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

/// A message that a workflow sends.
#[derive(Debug, Clone)]
pub struct PlannedSend {
    pub to: String,
    /// Of no other message.
    pub body: String,
    pub priority: &'static str,
    pub smart_encoding: Option<&'static str>,
    pub pause: Duration,
    /// A fault of the simulator's for this message, to be armed before.
    pub fault: Option<Value>,
}

/// A text of a tenant's.
#[derive(Debug, Clone)]
pub struct PlannedText {
    pub from: String,
    pub body: String,
    /// How many times at once Twilio posts it.
    pub copies: u64,
    pub pause: Duration,
}

/// The whole run.
#[derive(Debug)]
pub struct Plan {
    pub sends: Vec<PlannedSend>,
    pub texts: Vec<PlannedText>,
}

impl Plan {
    /// A run with so many messages to send.
    pub fn new(seed: u64, messages: usize) -> Self {
        let mut dice = Dice::new(seed);
        let handsets = (messages / 3).max(1) as u64;
        let handset = |dice: &mut Dice| format!("+1203{:07}", 5_550_000 + dice.below(handsets));
        let sends = (0..messages).map(|number| {
            let id = format!("Message {number} of {seed}:");
            let end = match dice.below(3) {
                0 => any_of_the_map(&mut dice),
                _ => (*dice.pick(ENDS)).to_owned(),
            };
            PlannedSend {
                to: handset(&mut dice),
                fault: fault(&mut dice, &id),
                body: format!("{id} {end}"),
                priority: dice.pick::<&str>(&["urgent", "normal", "normal", "bulk"]),
                smart_encoding: *dice.pick(&[None, None, None, Some("punctuation"), Some("all")]),
                pause: dice.within(PAUSE),
            }
        });
        let sends = sends.collect();
        let texts = (0..messages / 2).map(|number| {
            let body = *dice.pick(TEXTS);
            let is_word = body.chars().all(|letter| !letter.is_lowercase());
            PlannedText {
                from: handset(&mut dice),
                body: if is_word { body.to_owned() } else { format!("{body} ({number})") },
                copies: *dice.pick(&[1, 1, 1, 2, 5]),
                pause: dice.within(PAUSE),
            }
        });
        let texts = texts.collect();
        Self { sends, texts }
    }
}

/// Three characters of Twilio's map, each between digits: they stay apart from letters that they would compose with. The API
/// takes no NUL.
fn any_of_the_map(dice: &mut Dice) -> String {
    static MAP: LazyLock<Vec<String>> = LazyLock::new(|| {
        let published: Value =
            serde_json::from_str(include_str!("../../../src/twilio/smart_encoding.json")).unwrap();
        let map = published["map"].as_object().unwrap();
        map.keys().filter(|character| *character != "\0").cloned().collect()
    });
    let [a, b, c] = [(); 3].map(|()| dice.pick(&MAP).clone());
    format!("rent for flat 1{a}2{b}3{c}4 is due.")
}

/// What goes wrong with a message at Twilio; with more than half of them nothing does.
fn fault(dice: &mut Dice, id: &str) -> Option<Value> {
    if dice.chance(55) {
        return None;
    }
    let accept = dice.chance(50);
    let fault = match dice.below(16) {
        0 => json!({ "kind": "rate_limited", "retry_after": 1 }),
        1 => json!({ "kind": "rate_limited" }),
        2 => json!({ "kind": "error", "code": 21611 }),
        3 => json!({ "kind": "server_error", "accept": accept }),
        4 => json!({ "kind": "server_error", "accept": accept, "status": 503 }),
        5 => json!({ "kind": "reset_after_read", "accept": accept }),
        6 => json!({ "kind": "reset_before_read" }),
        7 => json!({ "kind": "hang", "accept": accept, "seconds": 4 }),
        8 => json!({ "kind": "slow", "ms": dice.below(3_000) }),
        9 => json!({ "kind": "late", "ms": dice.below(3_000) }),
        10 => json!({ "kind": dice.pick(&["truncated", "garbled"]) }),
        11 => json!({ "kind": "error", "code": dice.pick(&[21211, 21408, 21610, 21612, 21614, 30007]) }),
        12 => json!({ "kind": "undelivered", "code": dice.pick(&[30003, 30005, 30006, 30008]) }),
        13 => json!({ "kind": "failed", "code": dice.pick(&[30007, 30022]) }),
        14 => json!({ "kind": "sent_only" }),
        _ => callbacks(dice, true),
    };
    let mut request = json!({ "match": { "body_contains": id }, "fault": fault });
    if matches!(fault["kind"].as_str(), Some("rate_limited")) {
        request["count"] = (1 + dice.below(4)).into();
    }
    // Nobody tells about what went out without an answer.
    if dice.chance(30) && fault["kind"] != "callbacks" && fault["kind"] != "sent_only" {
        request["callbacks"] = callbacks(dice, false);
    }
    Some(request)
}

fn callbacks(dice: &mut Dice, alone: bool) -> Value {
    let mode = *dice.pick(&["late", "doubled", "reordered", "lost", "early"]);
    let mut callbacks = json!({ "mode": mode, "delay_ms": dice.below(4_000) });
    if alone {
        callbacks["kind"] = "callbacks".into();
    }
    callbacks
}
