//! Compares the state of Twilio and its handsets with the database.
//!
//! The oracle runs when the stack is idle, and knows nothing about the failures before:
//! - No handset has received a message twice for one accepted send, even if Twilio replaced characters in it.
//! - Each accepted send has a final status: delivered if the handset has the message, failed if not, or `unknown`.
//! - No create call for a handset arrived after its STOP was committed, except in an [`UngatedPeriod`].
//! - Each inbound message that the webhook accepted is in the database once and unchanged. After reconciliation this
//!   applies to all of Twilio's inbound messages.
//! - Nothing is left: no claim, open attempt, spooled webhook or queued message.

mod checks;
mod idle;
mod twilio;

use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

pub use self::idle::{wait_until_idle, wait_until_resolved};
use self::twilio::TwilioState;
use crate::stack::Stack;

/// How long a test without random failures waits until the stack is idle.
pub const DEADLINE: Duration = crate::stack::DEADLINE;
/// The maximum time between the permission for a create call and its arrival. A STOP waits this long for the call.
const ARRIVAL: SignedDuration = SignedDuration::from_millis(1_250);

/// A period in which a permitted create call was no longer guarded against a STOP.
///
/// The sender was paused or killed, or it lost its Postgres connection and with it the lock. A call may then arrive
/// shortly after a STOP was committed.
#[derive(Debug, Clone)]
pub struct UngatedPeriod {
    pub cause: &'static str,
    pub from: Timestamp,
    pub until: Timestamp,
}

impl UngatedPeriod {
    fn explains(&self, stop: Timestamp, call: Timestamp) -> bool {
        self.from <= stop && call <= self.until + ARRIVAL
    }
}

/// The expectations for a run.
#[derive(Debug, Clone)]
pub struct Expectations {
    /// The periods in which create calls may not have been guarded.
    ungated: Vec<UngatedPeriod>,
    /// Whether the database is reconciled with Twilio's lists, so that no outcome, status or message is missing.
    is_reconciled: bool,
}

/// The expectations for an idle stack without unguarded calls.
pub const IDLE: Expectations = Expectations { ungated: Vec::new(), is_reconciled: false };

impl Expectations {
    /// Returns the expectations after failures and reconciliation.
    pub fn after_failures(ungated: Vec<UngatedPeriod>) -> Self {
        Self { ungated, is_reconciled: true }
    }
}

/// A send that the API accepted. Its body is unique, so that its copies on the handset can be counted.
#[derive(Debug, Clone)]
pub struct AcceptedSend {
    /// The message ID.
    pub id: String,
    /// The recipient.
    pub to: String,
    /// The unique body.
    pub body: String,
}

/// The numbers of a run, for the report.
#[derive(Debug, Default, Clone)]
pub struct Figures {
    pub sends: usize,
    pub receipts: usize,
    pub duplicates: usize,
    pub delivered: usize,
    pub undelivered: usize,
    pub failed: usize,
    pub unknown: usize,
    pub unreported: usize,
    pub creates: usize,
    pub faults: usize,
    pub inbound: usize,
    pub stops: usize,
    /// Create calls that arrived after a STOP in an [`UngatedPeriod`].
    pub ungated: usize,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sends, receipts, duplicates, delivered, undelivered, failed, .. } = self;
        let Self { unknown, unreported, creates, faults, inbound, stops, ungated, .. } = self;
        write!(
            f,
            "messages={sends} creates={creates} faults_met={faults} receipts={receipts} duplicates={duplicates} \
             delivered={delivered} undelivered={undelivered} failed={failed} unknown={unknown} unreported={unreported} \
             inbound={inbound} stops={stops} ungated={ungated}"
        )
    }
}

/// Checks the stack, and panics with all violations.
pub async fn check(stack: &Stack, sends: &[AcceptedSend], expectations: Expectations) -> Figures {
    let (twilio, sql) = (TwilioState::read(stack).await, stack.sql().await);
    let mut errors = Vec::new();
    let mut figures = Figures { sends: sends.len(), creates: twilio.creates.len(), ..Figures::default() };
    figures.faults = twilio.creates.iter().filter(|create| !create["fault"].is_null()).count();
    checks::sends(&twilio, &sql, (sends, &expectations), &mut figures, &mut errors).await;
    checks::stops(&twilio, &sql, &expectations, &mut figures, &mut errors).await;
    checks::inbound(&twilio, &sql, &expectations, &mut figures, &mut errors).await;
    checks::leftovers(&sql, &mut errors).await;
    assert!(errors.is_empty(), "{figures}\n{}", errors.join("\n"));
    figures
}
