//! The one room that speaks Twilio: its forms, its signatures, its REST API and its error codes.
