//! The whole stack, with a Postgres of its own.
