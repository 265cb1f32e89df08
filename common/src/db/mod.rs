//! Postgres: one module per aggregate, SQL beside the function that runs it.
