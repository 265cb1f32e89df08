//! Everything the simulator remembers: messages, what each handset received, opt-outs.
//!
//! One lock guards it and is held for look-ups and inserts only; nothing here waits for anything.

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::journal::Journal;
use super::message::{Message, Received, Status};

/// One change, as the journal keeps it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Change {
    /// A message was made or changed.
    Message(Box<Message>),
    /// A message was deleted.
    Deleted(String),
    /// A handset received a text.
    Received(Received),
    /// A handset opted out of (or again in to) a sender or service.
    OptOut { handset: String, scope: String, out: bool },
    /// A handset was wiped.
    HandsetCleared(String),
    /// Everything was.
    Cleared,
}

/// Which messages a list asks for.
#[derive(Debug, Clone, Default)]
pub(super) struct Filter {
    pub(super) to: Option<String>,
    pub(super) from: Option<String>,
    /// Sent at this time or later.
    pub(super) since: Option<Timestamp>,
    /// Sent before this time.
    pub(super) before: Option<Timestamp>,
}

impl Filter {
    fn matches(&self, message: &Message) -> bool {
        self.to.as_deref().is_none_or(|to| to == message.to)
            && self.from.as_deref().is_none_or(|from| Some(from) == message.from.as_deref())
            && self.since.is_none_or(|since| message.sent.is_some_and(|sent| sent >= since))
            && self.before.is_none_or(|before| message.sent.is_some_and(|sent| sent < before))
    }
}

/// A place in a list, which stays right while messages come and go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cursor {
    /// From the newest on.
    Start,
    /// Older than this one.
    Older(u64),
    /// Newer than this one.
    Newer(u64),
}

/// One page of a list, newest first, each message with its number.
pub(super) struct Listing {
    pub(super) messages: Vec<(u64, Message)>,
    /// Whether more follow in the direction of the cursor.
    pub(super) more: bool,
}

/// What a handset has: its messages both ways and the senders it has stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Handset {
    pub(super) number: String,
    pub(super) messages: usize,
    pub(super) opted_out_of: Vec<String>,
}

/// See the module.
#[derive(Default)]
pub(super) struct Store {
    next: u64,
    messages: BTreeMap<u64, Message>,
    by_sid: HashMap<String, u64>,
    /// Numbers of messages, ascending, by either party.
    by_party: HashMap<String, Vec<u64>>,
    ledger: Vec<Received>,
    ledger_by_handset: HashMap<String, Vec<usize>>,
    opt_outs: HashMap<String, HashSet<String>>,
    handsets: BTreeMap<String, usize>,
    journal: Option<Journal>,
}

impl Store {
    /// A store that continues `changes` and writes what follows to `journal`.
    pub(super) fn replayed(changes: Vec<Change>, journal: Option<Journal>) -> Self {
        let mut store = Self::default();
        for change in changes {
            store.apply(change);
        }
        store.journal = journal;
        store
    }

    /// The shortest list of changes that leads here.
    pub(super) fn changes(&self) -> Vec<Change> {
        let messages = self.messages.values().cloned().map(|message| Change::Message(Box::new(message)));
        let received = self.ledger.iter().cloned().map(Change::Received);
        let opt_outs = self.opt_outs.iter().flat_map(|(handset, scopes)| {
            scopes.iter().map(|scope| Change::OptOut {
                handset: handset.clone(),
                scope: scope.clone(),
                out: true,
            })
        });
        messages.chain(received).chain(opt_outs).collect()
    }

    /// Hands the journal back, so that it can be closed.
    pub(super) fn take_journal(&mut self) -> Option<Journal> {
        self.journal.take()
    }

    /// Makes a change and journals it.
    pub(super) fn record(&mut self, change: Change) {
        if let Some(journal) = &self.journal {
            journal.append(&change);
        }
        self.apply(change);
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Message(message) => self.put(*message),
            Change::Deleted(sid) => self.remove(&sid),
            Change::Received(received) => {
                self.ledger_by_handset.entry(received.handset.clone()).or_default().push(self.ledger.len());
                self.ledger.push(received);
            }
            Change::OptOut { handset, scope, out } => {
                let scopes = self.opt_outs.entry(handset).or_default();
                if out {
                    scopes.insert(scope)
                } else {
                    scopes.remove(&scope)
                };
            }
            Change::HandsetCleared(handset) => self.clear_handset(&handset),
            Change::Cleared => *self = Self { journal: self.journal.take(), ..Self::default() },
        }
    }

    fn put(&mut self, message: Message) {
        let number = match self.by_sid.get(&message.sid) {
            Some(number) => *number,
            None => {
                self.next += 1;
                self.by_sid.insert(message.sid.clone(), self.next);
                *self.handsets.entry(message.handset().to_owned()).or_default() += 1;
                self.next
            }
        };
        for party in message.from.iter().chain([&message.to]) {
            let numbers = self.by_party.entry(party.clone()).or_default();
            let place = numbers.partition_point(|other| *other < number);
            if numbers.get(place) != Some(&number) {
                numbers.insert(place, number);
            }
        }
        self.messages.insert(number, message);
    }

    fn remove(&mut self, sid: &str) {
        let Some(message) = self.by_sid.remove(sid).and_then(|number| self.messages.remove(&number)) else {
            return;
        };
        if let Some(count) = self.handsets.get_mut(message.handset()) {
            *count -= 1;
        }
    }

    fn clear_handset(&mut self, handset: &str) {
        let sids: Vec<String> =
            self.by_party(handset).filter(|m| m.handset() == handset).map(|m| m.sid.clone()).collect();
        for sid in sids {
            self.remove(&sid);
        }
        self.ledger.retain(|received| received.handset != handset);
        self.ledger_by_handset.clear();
        for (place, received) in self.ledger.iter().enumerate() {
            self.ledger_by_handset.entry(received.handset.clone()).or_default().push(place);
        }
        self.opt_outs.remove(handset);
        self.handsets.remove(handset);
    }

    pub(super) fn get(&self, sid: &str) -> Option<&Message> {
        self.by_sid.get(sid).and_then(|number| self.messages.get(number))
    }

    /// Changes a message where `change` says so; None when there is no such message or it said no.
    pub(super) fn update(&mut self, sid: &str, change: impl FnOnce(&mut Message) -> bool) -> Option<Message> {
        let mut message = self.get(sid)?.clone();
        if !change(&mut message) {
            return None;
        }
        self.record(Change::Message(Box::new(message.clone())));
        Some(message)
    }

    /// All messages that are not at their end, oldest first.
    pub(super) fn unfinished(&self) -> Vec<Message> {
        self.messages.values().filter(|message| !message.status.is_final()).cloned().collect()
    }

    /// A page of messages, newest first.
    pub(super) fn list(&self, filter: &Filter, cursor: Cursor, size: usize) -> Listing {
        let shortest = [&filter.to, &filter.from]
            .into_iter()
            .flatten()
            .map(|party| self.by_party.get(party).map_or(&[][..], Vec::as_slice))
            .min_by_key(|numbers| numbers.len());
        let (low, high) = match cursor {
            Cursor::Start => (0, u64::MAX),
            Cursor::Older(number) => (0, number),
            Cursor::Newer(number) => (number.saturating_add(1), u64::MAX),
        };
        let numbers: Box<dyn DoubleEndedIterator<Item = u64>> = match shortest {
            Some(numbers) => {
                let numbers = &numbers[..numbers.partition_point(|number| *number < high)];
                Box::new(numbers[numbers.partition_point(|number| *number < low)..].iter().copied())
            }
            None => Box::new(self.messages.range(low..high).map(|(number, _)| *number)),
        };
        let wanted = |number: u64| {
            self.messages.get(&number).filter(|m| filter.matches(m)).map(|m| (number, m.clone()))
        };
        let mut messages: Vec<_> = match cursor {
            Cursor::Newer(_) => numbers.filter_map(wanted).take(size + 1).collect(),
            _ => numbers.rev().filter_map(wanted).take(size + 1).collect(),
        };
        let more = messages.len() > size;
        messages.truncate(size);
        if matches!(cursor, Cursor::Newer(_)) {
            messages.reverse();
        }
        Listing { messages, more }
    }

    fn by_party(&self, party: &str) -> impl Iterator<Item = &Message> {
        let numbers = self.by_party.get(party).map_or(&[][..], Vec::as_slice);
        numbers.iter().filter_map(|number| self.messages.get(number))
    }

    /// What a handset sent and was sent, oldest first.
    pub(super) fn conversation(&self, handset: &str) -> Vec<Message> {
        self.by_party(handset).filter(|message| message.handset() == handset).cloned().collect()
    }

    /// What a handset received, or all of them, in order.
    pub(super) fn received(&self, handset: Option<&str>) -> Vec<Received> {
        match handset {
            None => self.ledger.clone(),
            Some(handset) => {
                let places = self.ledger_by_handset.get(handset).map_or(&[][..], Vec::as_slice);
                places.iter().filter_map(|place| self.ledger.get(*place)).cloned().collect()
            }
        }
    }

    /// Whether a handset has stopped a sender or service.
    pub(super) fn opted_out(&self, handset: &str, scope: &str) -> bool {
        self.opt_outs.get(handset).is_some_and(|scopes| scopes.contains(scope))
    }

    /// The number that last spoke with this handset, out of `senders`.
    pub(super) fn last_sender(&self, handset: &str, senders: &[String]) -> Option<String> {
        let numbers = self.by_party.get(handset)?;
        numbers.iter().rev().take(64).filter_map(|number| self.messages.get(number)).find_map(|message| {
            let ours =
                if message.handset() == message.to { message.from.as_ref() } else { Some(&message.to) };
            ours.filter(|ours| senders.contains(ours)).cloned()
        })
    }

    /// The handsets that have appeared so far.
    pub(super) fn handsets(&self) -> Vec<Handset> {
        let known = self.handsets.iter().map(|(number, messages)| (number, *messages));
        known
            .map(|(number, messages)| {
                let mut opted_out_of: Vec<String> =
                    self.opt_outs.get(number).into_iter().flatten().cloned().collect();
                opted_out_of.sort();
                Handset { number: number.clone(), messages, opted_out_of }
            })
            .collect()
    }
}

impl Message {
    /// The party that is not ours.
    pub(super) fn handset(&self) -> &str {
        match self.direction {
            super::message::Direction::Inbound => self.from.as_deref().unwrap_or_default(),
            _ => &self.to,
        }
    }

    /// Moves to `status` at `now`, with an error code if it has one.
    pub(super) fn advance(&mut self, status: Status, error_code: Option<u32>, now: Timestamp) {
        self.status = status;
        self.error_code = error_code;
        self.updated = now;
        if status == Status::Sent {
            self.sent = Some(now);
        }
    }
}
