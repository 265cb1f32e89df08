//! The W3C trace context: <https://www.w3.org/TR/trace-context/>.

/// The name of the header, message attribute and URL parameter with the ids of the trace and the parent.
pub const TRACEPARENT: &str = "traceparent";

/// The name of the header and message attribute with the data of tracing systems.
pub const TRACESTATE: &str = "tracestate";

/// The length of a `traceparent` of version 00: `00-<32 hex digits>-<16 hex digits>-<2 hex digits>`.
const LENGTH: usize = 55;

/// The longest `tracestate` that is passed on. The specification requires at least this length.
const MAX_STATE: usize = 512;

/// The position of a span in its trace, which its children in other functions continue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    traceparent: String,
    tracestate: String,
}

impl TraceContext {
    /// Reads a `traceparent`. Returns `None` if it is invalid, which starts a new trace. An invalid `tracestate` is
    /// ignored.
    #[must_use]
    pub fn parse(traceparent: &str, tracestate: Option<&str>) -> Option<Self> {
        // A later version has the same fields, and perhaps more after them.
        let (known, rest) = traceparent.split_at_checked(LENGTH)?;
        let is_hex = |text: &str| text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let fields: Vec<&str> = known.split('-').collect();
        let [version, trace_id, span_id, flags] = fields[..] else { return None };
        let lengths = [version.len(), trace_id.len(), span_id.len(), flags.len()];
        let is_valid = lengths == [2, 32, 16, 2]
            && fields.iter().all(|field| is_hex(field))
            && [trace_id, span_id].iter().all(|id| id.bytes().any(|b| b != b'0'))
            && version != "ff"
            && (rest.is_empty() || version != "00" && rest.starts_with('-'));
        let is_state =
            |state: &&str| state.len() <= MAX_STATE && state.bytes().all(|b| matches!(b, b' '..=b'~'));
        is_valid.then(|| Self {
            traceparent: format!("00-{trace_id}-{span_id}-{flags}"),
            tracestate: tracestate.map(str::trim).filter(is_state).unwrap_or_default().to_owned(),
        })
    }

    /// Reads the text of [`TraceContext::to_text`].
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        match text.split_once(' ') {
            Some((traceparent, tracestate)) => Self::parse(traceparent, Some(tracestate)),
            None => Self::parse(text, None),
        }
    }

    /// Returns both parts in one text, separated by a space, for a column.
    #[must_use]
    pub fn to_text(&self) -> String {
        match self.tracestate() {
            Some(state) => format!("{} {state}", self.traceparent),
            None => self.traceparent.clone(),
        }
    }

    /// Returns the id of the trace.
    #[must_use]
    pub fn trace_id(&self) -> &str {
        self.traceparent.split('-').nth(1).unwrap_or_default()
    }

    /// Returns the `traceparent`.
    #[must_use]
    pub fn traceparent(&self) -> &str {
        &self.traceparent
    }

    /// Returns the `tracestate`, if there is one.
    #[must_use]
    pub fn tracestate(&self) -> Option<&str> {
        Some(self.tracestate.as_str()).filter(|state| !state.is_empty())
    }

    /// Returns whether the trace is recorded.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        u8::from_str_radix(&self.traceparent[LENGTH - 2..], 16).is_ok_and(|flags| flags & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_valid_traceparent_is_read_and_an_invalid_one_is_not() {
        for (given, is_valid) in [
            (VALID.to_owned(), true),
            (VALID.replace("-01", "-00"), true),
            (VALID.replacen("00-", "01-", 1), true),
            (VALID.replacen("00-", "01-", 1) + "-more", true),
            (VALID.to_owned() + "-more", false),
            (VALID.replacen("00-", "01-", 1) + "more", false),
            (VALID.replacen("00-", "ff-", 1), false),
            (VALID.to_uppercase(), false),
            (VALID.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)), false),
            (VALID.replace("00f067aa0ba902b7", &"0".repeat(16)), false),
            (VALID.replace('-', "_"), false),
            (VALID[1..].to_owned(), false),
            ("é".repeat(55), false),
            (String::new(), false),
        ] {
            assert_eq!(TraceContext::parse(&given, None).is_some(), is_valid, "{given}");
        }
        assert!(TraceContext::parse(VALID, None).unwrap().is_sampled());
        assert!(!TraceContext::parse(&VALID.replace("-01", "-00"), None).unwrap().is_sampled());
    }

    #[test]
    fn both_parts_fit_into_one_text() {
        for state in [None, Some("vendor=value,other=2")] {
            let context = TraceContext::parse(VALID, state).unwrap();
            assert_eq!(context.tracestate(), state);
            assert_eq!(TraceContext::from_text(&context.to_text()), Some(context));
        }
        assert_eq!(TraceContext::from_text("not a context"), None);
    }

    #[test]
    fn a_tracestate_that_cannot_be_passed_on_is_dropped() {
        for state in ["a=\u{e9}", "line\nbreak", &"x".repeat(513), "  "] {
            assert_eq!(TraceContext::parse(VALID, Some(state)).unwrap().tracestate(), None, "{state:?}");
        }
    }
}
