//! The kinds of words that signs look for, by their line in `material/kinds.txt`.

macro_rules! kinds {
    ($($name:ident = $line:literal $word:literal,)*) => {
        $(pub(super) const $name: u8 = $line;)*

        /// A word of each kind, for a test.
        #[cfg(test)]
        pub(super) const EXAMPLES: &[(u8, &str)] = &[$(($line, $word),)*];
    };
}

kinds! {
    TEXT = 1 "text",
    TEXTING = 2 "texting",
    CONTACT = 3 "contact",
    SEND = 4 "send",
    WRITE = 5 "write",
    RECEIVE = 6 "receive",
    STOP = 7 "stop",
    QUIT = 8 "quit",
    CANCEL = 9 "cancel",
    UNSUBSCRIBE = 10 "unsubscribe",
    BAJA = 11 "baja",
    OUT = 12 "out",
    REMOVE = 13 "remove",
    TAKE = 14 "take",
    TURN = 15 "turn",
    LIST = 16 "list",
    NUMBER = 17 "number",
    ALERT = 18 "reminder",
    NEGATION = 19 "not",
    WANT = 21 "want",
    CONSENT = 22 "consentimiento",
    LEGAL = 23 "lawyer",
    THEY = 27 "son",
    ACCIDENT = 29 "accident",
    CALL = 35 "calling",
    EMAIL = 36 "email",
    ONLY = 37 "only",
    OLD = 45 "viejo",
    SPAM = 48 "spam",
    ENOUGH = 50 "enough",
    LEAVE = 51 "leave",
    BLOCK = 52 "block",
    THESE = 54 "these",
    KEYWORD = 55 "alto",
}
