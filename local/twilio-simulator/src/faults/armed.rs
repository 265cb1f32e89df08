//! Armed faults: which requests meet them, and how often.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::clock::now;
use crate::faults::fault::{CallbackFault, Fault};
use crate::faults::reserved::reserved;
use crate::state::plan::Plan;

/// The fault that a request meets, with an optional callback fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Met {
    #[serde(flatten)]
    pub(crate) fault: Fault,
    #[serde(skip_serializing_if = "Option::is_none")]
    callbacks: Option<CallbackFault>,
}

impl Met {
    /// Returns the delivery plan of a message whose create request met this fault.
    pub(crate) fn plan(&self) -> Plan {
        let mut plan = self.fault.plan();
        if let Some(callbacks) = &self.callbacks {
            plan.callbacks = callbacks.plan();
        }
        plan
    }
}

/// The operation of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Operation {
    #[default]
    Create,
    Fetch,
    List,
    Update,
    Delete,
    /// A media file, at the REST API, which redirects to the media host.
    Media,
    /// A media file, at the media host.
    MediaFile,
    /// In a matcher: any operation.
    Any,
}

/// Selects requests. An absent field matches every request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Matcher {
    #[serde(default)]
    pub(crate) operation: Operation,
    pub(crate) to: Option<String>,
    pub(crate) from: Option<String>,
    pub(crate) body_contains: Option<String>,
}

impl Matcher {
    fn needs_body(&self) -> bool {
        self.to.is_some() || self.from.is_some() || self.body_contains.is_some()
    }

    fn matches(&self, operation: Operation, request: &Facts<'_>) -> bool {
        let same = |wanted: &Option<String>, got: &str| wanted.as_deref().is_none_or(|wanted| wanted == got);
        (self.operation == Operation::Any || self.operation == operation)
            && same(&self.to, request.to)
            && same(&self.from, request.from)
            && self.body_contains.as_deref().is_none_or(|part| request.body.contains(part))
    }
}

/// The parts of a request that a matcher compares; empty if absent.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Facts<'a> {
    pub(crate) to: &'a str,
    pub(crate) from: &'a str,
    pub(crate) body: &'a str,
}

/// A request to arm a fault.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FaultRequest {
    #[serde(default, rename = "match")]
    matcher: Matcher,
    /// The number of matching requests that succeed first.
    #[serde(default)]
    skip: u32,
    /// The number of requests that meet the fault; 0 means all until the fault is removed.
    #[serde(default = "once")]
    count: u32,
    /// The fault ends after this time, even if requests remain.
    for_ms: Option<u32>,
    fault: Fault,
    /// An additional fault for the status callbacks of an accepted message.
    callbacks: Option<CallbackFault>,
}

fn once() -> u32 {
    1
}

/// An armed fault.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Armed {
    pub(crate) id: u64,
    #[serde(rename = "match")]
    matcher: Matcher,
    skip: u32,
    /// `None` means no limit.
    remaining: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
    hits: u64,
    fault: Fault,
    #[serde(skip_serializing_if = "Option::is_none")]
    callbacks: Option<CallbackFault>,
}

/// All armed faults. Used-up faults stay in the list, so that their hits can be read.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    armed: Vec<Armed>,
    next_id: u64,
}

impl Faults {
    pub(crate) fn arm(&mut self, request: FaultRequest) -> Armed {
        self.next_id += 1;
        let armed = Armed {
            id: self.next_id,
            matcher: request.matcher,
            skip: request.skip,
            until: request.for_ms.map(|ms| now() + SignedDuration::from_millis(ms.into())),
            remaining: (request.count > 0).then_some(request.count),
            hits: 0,
            fault: request.fault,
            callbacks: request.callbacks,
        };
        self.armed.push(armed.clone());
        armed
    }

    pub(crate) fn all(&self) -> &[Armed] {
        &self.armed
    }

    /// Removes the fault with this id, or all faults. Returns false if the id is unknown.
    pub(crate) fn disarm(&mut self, id: Option<u64>) -> bool {
        let before = self.armed.len();
        self.armed.retain(|armed| id.is_some_and(|id| armed.id != id));
        id.is_none() || self.armed.len() < before
    }

    /// Returns whether to reset a new connection, and counts the hit.
    pub(crate) fn refuses_connection(&mut self) -> bool {
        self.take(|armed| matches!(armed.fault, Fault::Refuse {})).is_some()
    }

    /// Returns whether to reset the connection before reading the body, and counts the hit.
    pub(crate) fn resets_unread(&mut self, operation: Operation) -> bool {
        self.take(|armed| {
            matches!(armed.fault, Fault::ResetBeforeRead {})
                && !armed.matcher.needs_body()
                && armed.matcher.matches(operation, &Facts::default())
        })
        .is_some()
    }

    /// Returns the fault for a request: the oldest armed fault that matches, otherwise that of a reserved recipient.
    pub(crate) fn meet(&mut self, operation: Operation, request: &Facts<'_>) -> Option<Met> {
        self.take(|armed| {
            !matches!(armed.fault, Fault::Refuse {}) && armed.matcher.matches(operation, request)
        })
        .or_else(|| {
            let fault = if operation == Operation::Create { reserved(request.to) } else { None };
            fault.map(|fault| Met { fault, callbacks: None })
        })
    }

    fn take(&mut self, wanted: impl Fn(&Armed) -> bool) -> Option<Met> {
        for armed in &mut self.armed {
            let is_over = armed.remaining == Some(0) || armed.until.is_some_and(|until| until <= now());
            if is_over || !wanted(armed) {
                continue;
            }
            if armed.skip > 0 {
                armed.skip -= 1;
                continue;
            }
            armed.hits += 1;
            armed.remaining = armed.remaining.map(|left| left - 1);
            return Some(Met { fault: armed.fault.clone(), callbacks: armed.callbacks.clone() });
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arm(faults: &mut Faults, json: &str) -> u64 {
        faults.arm(serde_json::from_str(json).unwrap()).id
    }

    #[test]
    fn a_fault_applies_after_skip_for_count_requests() {
        let mut faults = Faults::default();
        arm(&mut faults, r#"{"match":{"to":"+1"},"skip":1,"count":2,"fault":{"kind":"truncated"}}"#);
        let to = |to| Facts { to, ..Facts::default() };
        let mut meet = |number| faults.meet(Operation::Create, &to(number)).is_some();
        assert_eq!(
            [meet("+2"), meet("+1"), meet("+1"), meet("+1"), meet("+1")],
            [false, false, true, true, false]
        );
        assert!(faults.meet(Operation::List, &to("+1")).is_none());
        assert_eq!(faults.all()[0].hits, 2);
    }

    #[test]
    fn a_fault_ends_after_its_time() {
        let mut faults = Faults::default();
        arm(&mut faults, r#"{"count":0,"for_ms":3600000,"fault":{"kind":"garbled"}}"#);
        assert!(faults.meet(Operation::Create, &Facts::default()).is_some());
        faults.disarm(None);
        arm(&mut faults, r#"{"count":0,"for_ms":0,"fault":{"kind":"garbled"}}"#);
        assert!(faults.meet(Operation::Create, &Facts::default()).is_none());
    }

    #[test]
    fn a_fault_with_count_zero_applies_until_it_is_removed() {
        let mut faults = Faults::default();
        let id = arm(&mut faults, r#"{"match":{"operation":"any"},"count":0,"fault":{"kind":"garbled"}}"#);
        assert!((0..9).all(|_| faults.meet(Operation::List, &Facts::default()).is_some()));
        assert!(faults.disarm(Some(id)));
        assert!(!faults.disarm(Some(id)));
        assert!(faults.meet(Operation::List, &Facts::default()).is_none());
    }
}
