//! The words that opt a handset out, in, or ask for help.
