//! The measured operations: the functions of `common::db`, with the rows of the generated traffic.

use super::generator::{ACCOUNT, Plan, phone, sid};
use crate::traffic;
use common::clock;
use common::db::conversations::PageStart;
use common::db::inbound::NewInbound;
use common::db::sends::{ClaimRequest, Created, MessageFilter, NewSend, SendPace, SendResult};
use common::db::statuses::NewStatus;
use common::db::{Db, conversations, inbound, messages, senders, sends, statuses};
use common::domain::ids::MessageId;
use common::domain::keywords::OptOut;
use common::domain::language::Language;
use common::domain::message::{Priority, Purpose, Status};
use common::domain::phone::InboundSender;
use common::domain::segments::Encoding;
use common::domain::sids::{AccountSid, MessageSid};
use common::twilio::RenewalPolicy;
use jiff::SignedDuration;
use serde_json::{Value, json};
use std::time::Duration;
use uuid::Uuid;

/// The batch size of the queues.
const BATCH: usize = 10;
/// The messages of a page and of a list.
const PAGE: i64 = 20;
/// The sender of all measured sends.
const SENDER: &str = "+18605550100";

/// A measured operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    InboundBatch,
    Inbound,
    InboundRepeated,
    Create,
    ClaimAndFinish,
    Status,
    StatusBatch,
    Page,
    OldPage,
    Message,
    Failures,
    RecentFailures,
    SweepDue,
    SweepUnresolved,
    SweepOrphans,
    SweepExpired,
    SweepClaims,
}

impl Operation {
    /// All operations in an order in which each finds the messages that it needs.
    pub const ALL: [Self; 17] = [
        Self::InboundBatch,
        Self::Inbound,
        Self::InboundRepeated,
        Self::Create,
        Self::ClaimAndFinish,
        Self::Status,
        Self::StatusBatch,
        Self::Page,
        Self::OldPage,
        Self::Message,
        Self::Failures,
        Self::RecentFailures,
        Self::SweepDue,
        Self::SweepUnresolved,
        Self::SweepOrphans,
        Self::SweepExpired,
        Self::SweepClaims,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::InboundBatch => "inbound, in batches of 10",
            Self::Inbound => "inbound, alone",
            Self::InboundRepeated => "inbound, repeated",
            Self::Create => "send: create",
            Self::ClaimAndFinish => "send: claim and finish",
            Self::Status => "status, alone",
            Self::StatusBatch => "status, in batches of 10",
            Self::Page => "page of an active conversation",
            Self::OldPage => "page of any conversation",
            Self::Message => "message by id",
            Self::Failures => "list of failures",
            Self::RecentFailures => "list of failures of a month",
            Self::SweepDue => "sweep: due sends",
            Self::SweepUnresolved => "sweep: unresolved",
            Self::SweepOrphans => "sweep: early callbacks",
            Self::SweepExpired => "sweep: expired",
            Self::SweepClaims => "sweep: abandoned claims",
        }
    }

    /// How often a round calls it, of which each processes [`units`](Self::units) messages. All operations on sends
    /// process 200 messages per round.
    pub fn calls(self) -> usize {
        match self {
            Self::ClaimAndFinish => 10,
            Self::InboundBatch | Self::StatusBatch => 20,
            Self::Failures => 10,
            _ => 200,
        }
    }

    /// The number of messages of a call.
    pub fn units(self) -> usize {
        match self {
            Self::ClaimAndFinish => 20,
            Self::InboundBatch | Self::StatusBatch => BATCH,
            _ => 1,
        }
    }
}

/// A client of a database.
#[derive(Debug)]
pub struct Worker {
    db: Db,
    plan: Plan,
    random: fastrand::Rng,
    sent: Vec<(MessageId, MessageSid)>,
    sent_before: usize,
    read: Vec<MessageId>,
    pace: SendPace,
    renewals: RenewalPolicy,
}

impl Worker {
    pub fn new(db: Db, plan: Plan, seed: u64) -> Self {
        Self {
            db,
            plan,
            random: fastrand::Rng::with_seed(seed),
            sent: Vec::new(),
            sent_before: 0,
            read: Vec::new(),
            // No limit.
            pace: SendPace { burst: 1_000_000, ..SendPace::default() },
            renewals: RenewalPolicy::default(),
        }
    }

    /// Calls an operation once.
    pub async fn call(&mut self, operation: Operation) {
        let now = clock::now();
        match operation {
            Operation::InboundBatch => self.receive(BATCH).await,
            Operation::Inbound => self.receive(1).await,
            Operation::InboundRepeated => {
                self.receive_sid(&sid(0, &mut fastrand::Rng::with_seed(7)).0).await;
            }
            Operation::Create => self.create(None).await,
            Operation::ClaimAndFinish => self.claim_and_finish().await,
            Operation::Status => self.callbacks("sent", 1).await,
            Operation::StatusBatch => self.callbacks("delivered", BATCH).await,
            Operation::Page => {
                let conversation = self.active();
                let newest = self.page(conversation).await;
                self.read.extend(newest);
            }
            Operation::OldPage => {
                let conversation = self.random.u64(..self.plan.conversations());
                self.page(conversation).await;
            }
            Operation::Message => self.message().await,
            Operation::Failures => self.failures(None).await,
            // Both databases have more than a page of failures in a month.
            Operation::RecentFailures => self.failures(Some(SignedDuration::from_hours(30 * 24))).await,
            Operation::SweepDue => {
                senders::wake(&self.db, now).await.expect("a sweep");
            }
            Operation::SweepUnresolved => {
                let until = now + SignedDuration::from_mins(1);
                sends::take_unresolved(&self.db, now, until, 50).await.expect("a sweep");
            }
            Operation::SweepOrphans => {
                statuses::join_orphans(&self.db, None, &self.renewals, now).await.expect("a sweep");
            }
            Operation::SweepExpired => {
                sends::expire(&self.db, now, Duration::from_secs(86_400), 500).await.expect("a sweep");
            }
            Operation::SweepClaims => {
                let before = now - SignedDuration::from_mins(5);
                sends::abandon_claims(&self.db, before, now, 100).await.expect("a sweep");
            }
        }
    }

    /// Returns a conversation that has traffic now.
    fn active(&mut self) -> u64 {
        self.plan.conversation(self.plan.messages - 1, &mut self.random)
    }

    /// Schedules messages for tomorrow.
    pub async fn schedule(&mut self, messages: usize) {
        for _ in 0..messages {
            self.create(Some(SignedDuration::from_hours(24))).await;
        }
    }

    async fn receive(&mut self, messages: usize) {
        let batch: Vec<_> = (0..messages)
            .map(|_| {
                let conversation = self.active();
                self.new_inbound(conversation)
            })
            .collect();
        let stored = inbound::store(&self.db, &batch).await.expect("stored messages");
        assert_eq!(stored.len(), messages, "all messages are new");
    }

    /// Stores a message, if this SID is not stored yet. Returns the number of new messages.
    pub async fn receive_sid(&mut self, sid: &str) -> usize {
        let conversation = self.active();
        let message = NewInbound { twilio_sid: message_sid(sid), ..self.new_inbound(conversation) };
        inbound::store(&self.db, &[message]).await.expect("a stored message").len()
    }

    fn new_inbound(&mut self, conversation: u64) -> NewInbound {
        let from = phone(conversation);
        let (twilio_sid, _) = sid(0, &mut self.random);
        let text = "Can somebody look at the heater in 12B? It has been cold since yesterday evening";
        NewInbound {
            id: clock::new_id().into(),
            conversation_id: clock::new_id().into(),
            account_sid: account(),
            phone_number_canonical: InboundSender::from_canonical(&from),
            raw_webhook_data: form(traffic::inbound_form(&twilio_sid, &from, text)),
            twilio_sid: message_sid(&twilio_sid),
            from_number: from,
            to_number: SENDER.to_owned(),
            messaging_service_sid: None,
            message_content: text.to_owned(),
            media: json!([]),
            nul_removed: false,
            language: Language::En,
            language_confidence: 0.95,
            opt_out_result: OptOut::None,
            opt_out: None,
            request_id: clock::new_id().to_string(),
            received_at: clock::now(),
        }
    }

    /// Sends messages that are delivered.
    #[cfg(test)]
    pub async fn send(&mut self, messages: usize) {
        for _ in 0..messages {
            self.create(None).await;
        }
        self.claim_and_finish().await;
        self.callbacks("sent", messages).await;
        self.callbacks("delivered", messages).await;
    }

    async fn create(&mut self, after: Option<SignedDuration>) {
        let to = phone(self.active());
        let now = clock::now();
        let send = NewSend {
            id: clock::new_id().into(),
            conversation_id: clock::new_id().into(),
            account_sid: account(),
            to: to.parse().expect("a number"),
            to_original: to,
            sender: SENDER.into(),
            replaced_from: None,
            message_content: "Your rent is due on Friday. Reply HELP for help, STOP to opt out.".to_owned(),
            media: json!([]),
            encoding: Encoding::Gsm7,
            segments: 1,
            priority: Priority::Normal,
            purpose: Purpose::Service,
            workflow_type: Some("rent_reminder".to_owned()),
            workflow_id: Some("lease-17".to_owned()),
            metadata: None,
            send_at: after.map(|after| now + after),
            send_before: after.map(|after| now + after * 2),
            api_key_id: Uuid::nil(),
            request_id: clock::new_id().to_string(),
            trace_context: None,
            created_at: now,
        };
        let created = sends::create(&self.db, &send, None).await.expect("a stored send");
        assert!(matches!(created, Created::Stored { .. }), "{created:?}");
    }

    async fn claim_and_finish(&mut self) {
        let wake_up = senders::WakeUp { sender: SENDER.into(), due_at: clock::now() };
        let request = ClaimRequest { wake_ups: vec![wake_up], ..ClaimRequest::default() };
        let claims = sends::claim(&self.db, &request, &self.pace, clock::now()).await.expect("claims");
        assert_eq!(claims.claimed.len(), Operation::ClaimAndFinish.units(), "enough messages wait");
        let results: Vec<_> = claims
            .claimed
            .iter()
            .map(|_| SendResult::Accepted {
                twilio_sid: message_sid(&sid(0, &mut self.random).0),
                status: Status::Queued,
            })
            .collect();
        for (claim, result) in claims.claimed.iter().zip(&results) {
            if let SendResult::Accepted { twilio_sid, .. } = result {
                self.sent.push((claim.message_id, twilio_sid.clone()));
            }
        }
        let ended: Vec<_> = claims.claimed.iter().zip(&results).collect();
        sends::finish(&self.db, &ended, clock::now()).await.expect("recorded outcomes");
    }

    /// Records callbacks of the next messages. Each status starts with the first message again.
    async fn callbacks(&mut self, event_status: &str, number: usize) {
        let is_last = event_status != "sent";
        let next: Vec<_> = if is_last {
            self.sent_before = 0;
            self.sent.drain(..number).collect()
        } else {
            self.sent_before += number;
            self.sent[self.sent_before - number..self.sent_before].to_vec()
        };
        let callbacks: Vec<_> =
            next.iter().map(|(id, sid)| new_status(sid.as_str(), Some(*id), event_status)).collect();
        let recorded = statuses::record(&self.db, &callbacks, &self.renewals, clock::now()).await;
        assert_eq!(recorded.expect("recorded callbacks").len(), number, "all callbacks are new");
    }

    /// Records a callback of a SID. Returns the number of new callbacks.
    #[cfg(test)]
    pub async fn callback_of(&self, sid: &str, event_status: &str) -> usize {
        let callback = new_status(sid, None, event_status);
        let recorded = statuses::record(&self.db, &[callback], &self.renewals, clock::now()).await;
        recorded.expect("a recorded callback").len()
    }

    /// Reads a page. Returns the newest message, unless the conversation has not begun.
    async fn page(&self, conversation: u64) -> Option<MessageId> {
        let number = [phone(conversation)];
        let page = conversations::page(&self.db, &account(), &number, PageStart::Offset(0), PAGE).await;
        page.expect("a page").and_then(|(_, messages)| Some(messages.first()?.id))
    }

    /// Reads a message of a page that was read before.
    async fn message(&mut self) {
        while self.read.is_empty() {
            let conversation = self.active();
            let newest = self.page(conversation).await;
            self.read.extend(newest);
        }
        let id = self.read[self.random.usize(..self.read.len())];
        messages::find(&self.db, id).await.expect("a message").expect("a stored message");
    }

    async fn failures(&mut self, age: Option<SignedDuration>) {
        let since = age.map(|age| clock::now() - age);
        let filter = MessageFilter { status: None, error_code: None, since, until: None, limit: PAGE };
        sends::unsettled(&self.db, &filter).await.expect("a list");
    }
}

fn new_status(sid: &str, message_id: Option<MessageId>, event_status: &str) -> NewStatus {
    NewStatus {
        id: clock::new_id(),
        twilio_sid: message_sid(sid),
        message_id,
        event_status: event_status.to_owned(),
        status: Status::from_twilio(event_status),
        error_code: (event_status == "undelivered").then(|| "30006".to_owned()),
        raw_webhook_data: form(traffic::status_form(sid, "+12032000001", event_status)),
        nul_removed: false,
        received_at: clock::now(),
    }
}

fn account() -> AccountSid {
    ACCOUNT.parse().expect("an account SID")
}

fn message_sid(sid: &str) -> MessageSid {
    sid.parse().expect("a message SID")
}

fn form(pairs: Vec<(String, String)>) -> Value {
    Value::Object(pairs.into_iter().map(|(name, value)| (name, Value::String(value))).collect())
}
