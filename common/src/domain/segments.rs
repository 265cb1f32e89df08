//! How many SMS segments a text costs, and in which alphabet.
