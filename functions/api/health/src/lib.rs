//! GET /health
