//! HTTP answers: one error envelope, written in one place.
