//! Logs, metrics and request identities, in one place for all functions.
