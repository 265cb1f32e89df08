//! A message, its states and the order in which they may follow each other.
