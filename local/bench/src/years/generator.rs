//! Traffic of two years: the rows that the functions would have stored for it.

use super::rows::{
    Attempt, Callback, Conversation, Event, Message, Payload, Sequence, Sid, Sink, StatusEvent, Tenant,
    TenantNumber,
};
use crate::traffic;
use common::domain::event::{
    self, EventData, LanguageChanged, LanguageSource, MessageFailed, MessageReceived, MessageStatus,
};
use common::domain::keywords::OptOut;
use common::domain::language::Language;
use common::domain::message::{Direction, Status};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio_postgres::types::Timestamp as PgTimestamp;
use uuid::Uuid;

/// The account of all conversations.
pub const ACCOUNT: &str = "AC277f7ecc24aaab2316acb9fd8f634625";
/// Our numbers.
const NUMBERS: u64 = 20;
/// Messages per conversation, on average.
const PER_CONVERSATION: u64 = 40;
/// The share of conversations that are active at any time, in percent. A conversation starts, has messages for about
/// 30 % of the two years, and ends.
const ACTIVE_PERCENT: u64 = 30;
/// How long before a tenant's number is looked up again.
const LOOKUP_AGAIN: SignedDuration = SignedDuration::from_hours(24);

const INBOUND: [&str; 6] = [
    "ok",
    "Yes, thank you!",
    "Hello, my sink is leaking again",
    "I sent the rent on Friday, please check and tell me whether it has arrived, thanks!",
    "Can somebody look at the heater in 12B? It has been cold since yesterday evening",
    "When will the elevator be repaired?",
];
const OUTBOUND: [&str; 4] = [
    "Your rent is due on Friday. Reply HELP for help, STOP to opt out.",
    "Thank you, we have received your payment.",
    "We have received your request and scheduled a visit for tomorrow between 9 and 11 in the morning. Please reply \
     YES to confirm or call us to find another time.",
    "The water will be turned off on Tuesday from 10 to 12 for repairs in the basement. We are sorry for the trouble.",
];

/// The size and the period of the traffic.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub messages: u64,
    pub since: Timestamp,
    pub until: Timestamp,
}

impl Plan {
    pub fn conversations(&self) -> u64 {
        (self.messages / PER_CONVERSATION).max(200)
    }

    /// Returns when a message is received or requested.
    fn at(&self, message: u64) -> Timestamp {
        let period = self.until.duration_since(self.since).as_micros();
        let share = period * i128::from(message) / i128::from(self.messages);
        self.since + SignedDuration::from_micros(share as i64)
    }

    /// Returns the conversation of a message. Some conversations have several times as many messages as others.
    pub fn conversation(&self, message: u64, random: &mut fastrand::Rng) -> u64 {
        let conversations = self.conversations();
        let active = conversations * ACTIVE_PERCENT / 100;
        let first = (conversations - active) * message / self.messages;
        first + (active as f64 * random.f64().powi(2)) as u64
    }
}

/// Returns the number of a conversation.
pub fn phone(conversation: u64) -> String {
    format!("+1203{:07}", 2_000_000 + conversation)
}

/// Returns one of our numbers.
pub fn our_number(conversation: u64) -> String {
    format!("+1860555{:04}", 100 + conversation % NUMBERS)
}

/// Returns a random message SID as text and in 17 bytes. `prefix` is the first of them.
pub fn sid(prefix: u8, random: &mut fastrand::Rng) -> (String, Vec<u8>) {
    let number = random.u128(..);
    let mut bytes = vec![prefix];
    bytes.extend(number.to_be_bytes());
    (format!("SM{number:032x}"), bytes)
}

/// Returns a UUIDv7 of this time.
fn id(at: Timestamp, random: &mut fastrand::Rng) -> Uuid {
    let mut bytes = [0; 10];
    random.fill(&mut bytes);
    let milliseconds = at.as_millisecond().try_into().expect("a time after 1970");
    uuid::Builder::from_unix_timestamp_millis(milliseconds, &bytes).into_uuid()
}

/// The connections of all tables.
#[derive(Debug)]
pub struct Tables {
    pub conversations: Sink<Conversation>,
    pub tenants: Sink<Tenant>,
    pub tenant_numbers: Sink<TenantNumber>,
    pub messages: Sink<Message>,
    pub payloads: Sink<Payload>,
    pub sids: Sink<Sid>,
    pub attempts: Sink<Attempt>,
    pub status_events: Sink<StatusEvent>,
    pub callbacks: Sink<Callback>,
    pub events: Sink<Event>,
    pub sequences: Sink<Sequence>,
}

/// What a conversation's messages amount to.
#[derive(Debug, Clone)]
struct Activity {
    id: Uuid,
    created_at: Timestamp,
    messages: i64,
    events: i64,
    last_message_at: Timestamp,
    last_inbound_at: Option<Timestamp>,
    /// The strongest language evidence: its strength, its time and its SID.
    evidence: (i16, Option<Timestamp>, String),
}

/// Generates all rows.
#[derive(Debug)]
pub struct Generator {
    plan: Plan,
    tables: Tables,
    random: fastrand::Rng,
    activities: Vec<Option<Activity>>,
    sid_prefix: u8,
    /// The last position of the event log.
    position: i64,
}

impl Generator {
    /// `sid_prefix` is the first byte of a packed `SM…` SID.
    pub fn new(plan: Plan, tables: Tables, sid_prefix: u8) -> Self {
        let activities = vec![None; plan.conversations() as usize];
        Self { plan, tables, random: fastrand::Rng::with_seed(12), activities, sid_prefix, position: 0 }
    }

    /// Generates everything, in the order of time.
    pub fn run(mut self) {
        for message in 0..self.plan.messages {
            let at = self.plan.at(message);
            let conversation = self.plan.conversation(message, &mut self.random);
            if self.random.bool() {
                self.inbound(conversation, at);
            } else {
                self.outbound(conversation, at);
            }
        }
        for conversation in 0..self.activities.len() {
            if let Some(activity) = self.activities[conversation].take() {
                self.conversation(conversation as u64, activity);
            }
        }
    }

    /// Counts a message and returns its conversation's id.
    fn count(&mut self, conversation: u64, at: Timestamp) -> Uuid {
        let activity = self.activities[conversation as usize].get_or_insert_with(|| Activity {
            id: id(at, &mut self.random),
            created_at: at,
            messages: 0,
            events: 0,
            last_message_at: at,
            last_inbound_at: None,
            evidence: (0, None, String::new()),
        });
        activity.messages += 1;
        activity.last_message_at = at;
        activity.id
    }

    /// Writes an event of a message.
    fn event<D: EventData>(
        &mut self,
        conversation: u64,
        message_id: Uuid,
        workflow_type: Option<&'static str>,
        at: Timestamp,
        data: D,
    ) {
        let Some(activity) = &mut self.activities[conversation as usize] else { return };
        activity.events += 1;
        self.position += 1;
        let (conversation_id, conversation_sequence) = (activity.id, activity.events);
        let id = id(at, &mut self.random);
        let body = event::Event {
            id,
            r#type: D::TYPE,
            timestamp: at,
            conversation_id: conversation_id.into(),
            conversation_sequence,
            message_id: Some(message_id.into()),
            tenant_id: None,
            workflow_type: workflow_type.map(str::to_owned),
            data,
        };
        self.tables.events.push(Event {
            id,
            position: self.position,
            event_type: D::TYPE.as_str(),
            conversation_id,
            message_id,
            workflow_type,
            body: serde_json::to_string(&body).expect("an event"),
            created_at: at,
        });
    }

    fn inbound(&mut self, conversation: u64, at: Timestamp) {
        let conversation_id = self.count(conversation, at);
        let message_id = id(at, &mut self.random);
        let (sid, packed) = sid(self.sid_prefix, &mut self.random);
        let text = self.random.usize(..INBOUND.len());
        // A short text has no detectable language.
        let (language, confidence, strength) = if text == 0 { ("unknown", 0.0, 0) } else { ("en", 0.95, 3) };
        let (from, to) = (phone(conversation), our_number(conversation));
        let text = INBOUND[text].to_owned();
        let form = object(traffic::inbound_form(&sid, &from, &text));

        let is_first = self.activities[conversation as usize].as_mut().is_some_and(|activity| {
            activity.last_inbound_at = Some(at);
            let is_first = strength > 0 && activity.evidence.0 == 0;
            if strength > 0 {
                activity.evidence = (strength, Some(at), sid.clone());
            }
            is_first
        });
        let received = MessageReceived {
            direction: Direction::Inbound,
            twilio_sid: sid.clone(),
            language: language.parse().unwrap_or(Language::Unknown),
            language_confidence: confidence,
            num_media: 0,
            opt_out: OptOut::None,
        };
        self.event(conversation, message_id, None, at, received);
        if is_first {
            let changed = LanguageChanged {
                language: Language::En,
                previous_language: Language::Unknown,
                confidence,
                source: LanguageSource::Message,
                request_id: Some(message_id.to_string()),
            };
            self.event(conversation, message_id, None, at, changed);
        }
        self.tables.payloads.push(Payload { message_id, raw_webhook_data: form, created_at: at });
        self.tables.sids.push(Sid { packed_sid: packed, message_id, attempt_id: None });
        self.tables.messages.push(Message {
            id: message_id,
            conversation_id,
            direction: "inbound",
            twilio_sid: sid,
            from_number: from,
            to_number: to,
            messaging_service_sid: None,
            message_content: text,
            delivery_status: "received",
            error_code: None,
            created_at: at,
            request_id: message_id.to_string(),
            language,
            language_confidence: confidence,
            language_strength: strength,
            opt_out: Some("none"),
            encoding: None,
            segments: None,
            workflow_type: None,
            workflow_id: None,
            api_key_id: None,
            next_attempt_at: None,
        });
    }

    fn outbound(&mut self, conversation: u64, at: Timestamp) {
        let conversation_id = self.count(conversation, at);
        let message_id = id(at, &mut self.random);
        let started_at = at + SignedDuration::from_millis(80);
        let finished_at = at + SignedDuration::from_millis(240);
        let attempt_id = id(started_at, &mut self.random);
        let (sid, packed) = sid(self.sid_prefix, &mut self.random);
        let to = phone(conversation);
        let text = OUTBOUND[self.random.usize(..OUTBOUND.len())];
        let (last_status, error_code) = match self.random.u32(..100) {
            0 => ("failed", Some("30005")),
            1..=3 => ("undelivered", Some("30003")),
            _ => ("delivered", None),
        };
        let workflow_type = self.random.bool().then_some("rent_reminder");
        let mut status = Status::Pending;
        let mut report = |generator: &mut Self, next: Status, error_code: Option<&str>, at: Timestamp| {
            let error_code = error_code.map(str::to_owned);
            let previous_status = std::mem::replace(&mut status, next);
            let changed = MessageStatus {
                status: next,
                previous_status,
                error_code: error_code.clone(),
                parked: false,
            };
            generator.event(conversation, message_id, workflow_type, at, changed);
            if matches!(next, Status::Failed | Status::Undelivered) {
                let failed = MessageFailed { status: next, error_code };
                generator.event(conversation, message_id, workflow_type, at, failed);
            }
        };
        report(self, Status::Queued, None, finished_at);
        let sent = (last_status != "failed").then_some(("sent", None, SignedDuration::from_millis(900)));
        let last = (last_status, error_code, SignedDuration::from_millis(3_700));
        for (event_status, error_code, after) in sent.into_iter().chain([last]) {
            let created_at = at + after;
            let event_id = id(created_at, &mut self.random);
            report(self, event_status.parse().expect("a status"), error_code, created_at);
            let raw_webhook_data = object(traffic::status_form(&sid, &to, event_status));
            self.tables.callbacks.push(Callback {
                packed_sid: packed.clone(),
                event_status,
                error_code,
                message_id,
                event_id,
                contradicts: false,
                created_at,
            });
            self.tables.status_events.push(StatusEvent {
                id: event_id,
                message_id,
                twilio_sid: sid.clone(),
                event_status,
                error_code,
                contradicts: false,
                raw_webhook_data,
                nul_removed: false,
                created_at,
            });
        }
        self.tables.sids.push(Sid { packed_sid: packed, message_id, attempt_id: Some(attempt_id) });
        self.tables.attempts.push(Attempt {
            id: attempt_id,
            message_id,
            number: 1,
            outcome: "accepted",
            twilio_sid: sid.clone(),
            started_at,
            finished_at,
        });
        self.tables.messages.push(Message {
            id: message_id,
            conversation_id,
            direction: "outbound",
            twilio_sid: sid,
            from_number: our_number(conversation),
            to_number: to,
            messaging_service_sid: None,
            message_content: text.to_owned(),
            delivery_status: last_status,
            error_code,
            created_at: at,
            request_id: message_id.to_string(),
            language: "unknown",
            language_confidence: 0.0,
            language_strength: 0,
            opt_out: None,
            encoding: Some("GSM-7"),
            segments: Some(text.len().div_ceil(153) as i32),
            workflow_type,
            workflow_id: workflow_type.map(|_| format!("lease-{conversation}")),
            api_key_id: Some(Uuid::nil()),
            next_attempt_at: Some(at),
        });
    }

    /// Writes a conversation, of a tenant with one number.
    fn conversation(&mut self, number: u64, activity: Activity) {
        let phone = phone(number);
        let tenant_id = format!("tenant-{number}");
        let (strength, language_at, language_evidence) = activity.evidence;
        let (language, confidence) = if strength > 0 { ("en", 0.95) } else { ("unknown", 0.0) };
        let preference = "en";
        self.tables.tenants.push(Tenant {
            tenant_id: tenant_id.clone(),
            language_preference: preference,
            preference_at: activity.created_at,
            language_decided: preference,
        });
        self.tables.tenant_numbers.push(TenantNumber {
            conversation_id: activity.id,
            tenant_id: tenant_id.clone(),
            last_used_at: activity.last_inbound_at.unwrap_or(activity.created_at),
        });
        self.tables.sequences.push(Sequence { conversation_id: activity.id, last_sequence: activity.events });
        self.tables.conversations.push(Conversation {
            id: activity.id,
            account_sid: ACCOUNT,
            phone_number_canonical: phone.clone(),
            phone_number_original: phone,
            message_count: activity.messages,
            last_message_at: activity.last_message_at,
            tenant_id,
            tenant_identified_at: activity.created_at,
            // The lookups of the day are spread over it.
            tenant_next_check_at: self.plan.until + LOOKUP_AGAIN.mul_f64(self.random.f64()),
            language_detected: language,
            language_confidence: confidence,
            language_strength: strength,
            language_own: strength > 0,
            language_at: language_at.map_or(PgTimestamp::NegInfinity, PgTimestamp::Value),
            language_evidence,
            created_at: activity.created_at,
        });
    }
}

fn object(pairs: Vec<(String, String)>) -> Value {
    Value::Object(pairs.into_iter().map(|(name, value)| (name, Value::String(value))).collect())
}
