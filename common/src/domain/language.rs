//! Which language a text is written in, and how sure that is.
