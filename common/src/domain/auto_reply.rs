//! Whether this service may answer a message by itself (SPEC §1): never an opt-out word, never a short code, never
//! another machine.

use super::keywords::{self, Keyword};
use super::phone::Sender;

/// What machines say when they answer by themselves, in lower case. Phones while driving, offices while closed,
/// services that take no replies.
const MACHINE_PHRASES: &[&str] = &[
    "auto-reply",
    "auto reply",
    "autoreply",
    "automatic reply",
    "automated reply",
    "automated message",
    "automated response",
    "automatic response",
    "auto-response",
    "do not reply",
    "don't reply",
    "this number is not monitored",
    "out of office",
    "i'm driving",
    "i’m driving",
    "i am driving",
    "driving with do not disturb",
    "respuesta automática",
    "respuesta automatica",
    "mensaje automático",
    "mensaje automatico",
    "no responda a este",
    "fuera de la oficina",
    "estoy conduciendo",
    "estoy manejando",
    "resposta automática",
    "resposta automatica",
    "mensagem automática",
    "mensagem automatica",
    "não responda",
    "fora do escritório",
    "estou dirigindo",
];

/// Tells whether a text reads like a machine's own answer.
#[must_use]
pub fn looks_automatic(body: &str) -> bool {
    let body = body.to_lowercase();
    MACHINE_PHRASES.iter().any(|phrase| body.contains(phrase))
}

/// Tells whether an inbound message may be answered automatically.
///
/// Opt-out and opt-in words are Twilio's to confirm; HELP is answered, since that is what such a text is for.
#[must_use]
pub fn may_be_answered(sender: &Sender, body: &str) -> bool {
    matches!(sender, Sender::Number(_))
        && !keywords::is_reaction(body)
        && !matches!(keywords::classify(body), Some(Keyword::Stop { .. } | Keyword::Start { .. }))
        && !looks_automatic(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_answered_and_machines_short_codes_and_opt_out_words_are_not() {
        let cases = [
            ("+18605550123", "the sink leaks again", true),
            ("+18605550123", "HELP", true),
            ("+18605550123", "", true),
            ("+18605550123", "I was driving when you called", true),
            ("+18605550123", "STOP", false),
            ("+18605550123", "Baja", false),
            ("+18605550123", "START", false),
            ("+18605550123", "please stop texting me", false),
            ("+18605550123", "I'm driving with Do Not Disturb While Driving turned on.", false),
            ("+18605550123", "AUTO-REPLY: our office is closed", false),
            ("+18605550123", "Respuesta automática: estamos cerrados", false),
            ("+18605550123", "Mensagem automática. Não responda.", false),
            ("+18605550123", "Liked “We are open from 9 to 5.”", false),
            ("+18605550123", "👍 to “We are open from 9 to 5.”", false),
            ("+18605550123", "Le gustó “Abrimos de 9 a 5”", false),
            ("+18605550123", "my 60\" tv fell \"off\" the wall", true),
            ("24273", "your code is 1234", false),
            ("CHASE", "hello", false),
        ];
        for (from, body, expected) in cases {
            assert_eq!(may_be_answered(&Sender::from_twilio(from), body), expected, "{from} {body:?}");
        }
    }
}
