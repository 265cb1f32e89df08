//! The in-memory store: messages, media files, received texts and opt-outs.
//!
//! One lock guards the store. No operation blocks or awaits while it is held.

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::Timestamp;
use serde::Serialize;

use crate::state::change::Change;
use crate::state::file::File;
use crate::state::journal::Journal;
use crate::state::message::{Message, Received};

/// The filter of a message list.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    pub(crate) to: Option<String>,
    pub(crate) from: Option<String>,
    /// Sent at this time or later.
    pub(crate) since: Option<Timestamp>,
    /// Sent before this time.
    pub(crate) before: Option<Timestamp>,
}

impl Filter {
    fn matches(&self, message: &Message) -> bool {
        self.to.as_deref().is_none_or(|to| to == message.to)
            && self.from.as_deref().is_none_or(|from| Some(from) == message.from.as_deref())
            && self.since.is_none_or(|since| message.sent.is_some_and(|sent| sent >= since))
            && self.before.is_none_or(|before| message.sent.is_some_and(|sent| sent < before))
    }
}

/// A position in a list. It stays valid when messages are created or deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cursor {
    /// Starts with the newest message.
    Start,
    /// Messages older than this one.
    Older(u64),
    /// Messages newer than this one.
    Newer(u64),
}

/// One page of a list, newest first. Each message has its position number.
pub(crate) struct Listing {
    pub(crate) messages: Vec<(u64, Message)>,
    /// Whether more messages follow in the direction of the cursor.
    pub(crate) more: bool,
}

/// A handset: the number of its messages and its opt-outs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Handset {
    pub(crate) number: String,
    pub(crate) messages: usize,
    pub(crate) opted_out_of: Vec<String>,
}

/// The in-memory store.
#[derive(Default)]
pub(crate) struct Store {
    next: u64,
    messages: BTreeMap<u64, Message>,
    by_sid: HashMap<String, u64>,
    /// Position numbers of messages, ascending, by sender and by recipient.
    by_party: HashMap<String, Vec<u64>>,
    /// The files by media SID.
    files: HashMap<String, File>,
    ledger: Vec<Received>,
    ledger_by_handset: HashMap<String, Vec<usize>>,
    opt_outs: HashMap<String, HashSet<String>>,
    handsets: BTreeMap<String, usize>,
    journal: Option<Journal>,
}

impl Store {
    /// Creates a store from `changes`. Later changes are written to `journal`.
    pub(crate) fn replayed(changes: Vec<Change>, journal: Option<Journal>) -> Self {
        let mut store = Self::default();
        for change in changes {
            store.apply(change);
        }
        store.journal = journal;
        store
    }

    /// Returns the shortest list of changes that restores this store.
    pub(crate) fn changes(&self) -> Vec<Change> {
        let messages = self.messages.values().cloned().map(|message| Change::Message(Box::new(message)));
        let files = self.files.iter().map(|(sid, file)| Change::File(sid.clone(), file.clone()));
        let received = self.ledger.iter().cloned().map(Change::Received);
        let opt_outs = self.opt_outs.iter().flat_map(|(handset, scopes)| {
            scopes.iter().map(|scope| Change::OptOut {
                handset: handset.clone(),
                scope: scope.clone(),
                out: true,
            })
        });
        messages.chain(files).chain(received).chain(opt_outs).collect()
    }

    /// Removes and returns the journal, so that the caller can close it.
    pub(crate) fn take_journal(&mut self) -> Option<Journal> {
        self.journal.take()
    }

    /// Applies a change and writes it to the journal.
    pub(crate) fn record(&mut self, change: Change) {
        if let Some(journal) = &self.journal {
            journal.append(&change);
        }
        self.apply(change);
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Message(message) => self.put(*message),
            Change::Deleted(sid) => self.remove(&sid),
            Change::File(sid, file) => _ = self.files.insert(sid, file),
            Change::MediaDeleted { message, media } => {
                self.files.remove(&media);
                let number = self.by_sid.get(&message);
                if let Some(message) = number.and_then(|number| self.messages.get_mut(number)) {
                    message.media.retain(|file| file.sid != media);
                }
            }
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
        for media in &message.media {
            self.files.remove(&media.sid);
        }
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

    pub(crate) fn get(&self, sid: &str) -> Option<&Message> {
        self.by_sid.get(sid).and_then(|number| self.messages.get(number))
    }

    /// Returns a media file.
    pub(crate) fn file(&self, media_sid: &str) -> Option<&File> {
        self.files.get(media_sid)
    }

    /// Changes a message. Returns `None` if the message does not exist or `change` returns false.
    pub(crate) fn update(&mut self, sid: &str, change: impl FnOnce(&mut Message) -> bool) -> Option<Message> {
        let mut message = self.get(sid)?.clone();
        if !change(&mut message) {
            return None;
        }
        self.record(Change::Message(Box::new(message.clone())));
        Some(message)
    }

    /// Returns the messages without a final status, oldest first.
    pub(crate) fn unfinished(&self) -> Vec<Message> {
        self.messages.values().filter(|message| !message.status.is_final()).cloned().collect()
    }

    /// Returns a page of messages, newest first.
    pub(crate) fn list(&self, filter: &Filter, cursor: Cursor, size: usize) -> Listing {
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

    /// Returns the messages from and to a handset, oldest first.
    pub(crate) fn conversation(&self, handset: &str) -> Vec<Message> {
        self.by_party(handset).filter(|message| message.handset() == handset).cloned().collect()
    }

    /// Returns the texts that a handset received, or those of all handsets, in order of arrival.
    pub(crate) fn received(&self, handset: Option<&str>) -> Vec<Received> {
        match handset {
            None => self.ledger.clone(),
            Some(handset) => {
                let places = self.ledger_by_handset.get(handset).map_or(&[][..], Vec::as_slice);
                places.iter().filter_map(|place| self.ledger.get(*place)).cloned().collect()
            }
        }
    }

    /// Returns whether a handset has opted out of a sender or messaging service.
    pub(crate) fn opted_out(&self, handset: &str, scope: &str) -> bool {
        self.opt_outs.get(handset).is_some_and(|scopes| scopes.contains(scope))
    }

    /// Returns the number in `senders` with the latest message from or to this handset.
    pub(crate) fn last_sender(&self, handset: &str, senders: &[String]) -> Option<String> {
        let numbers = self.by_party.get(handset)?;
        numbers.iter().rev().take(64).filter_map(|number| self.messages.get(number)).find_map(|message| {
            let own = if message.handset() == message.to { message.from.as_ref() } else { Some(&message.to) };
            own.filter(|own| senders.contains(own)).cloned()
        })
    }

    /// Returns all handsets with messages so far.
    pub(crate) fn handsets(&self) -> Vec<Handset> {
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
