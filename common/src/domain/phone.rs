//! Phone numbers: E.164 inside, every spelling outside.
