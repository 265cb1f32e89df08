//! Decides whether an inbound message may get an automatic reply. Opt-out keywords, short codes and automated messages
//! never do.

use super::keywords::{self, Keyword};
use super::phone::InboundSender;

/// Lower-case phrases of automated messages: driving mode, out of office, unmonitored numbers.
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

/// Returns whether a text looks like an automated message.
#[must_use]
pub fn looks_automatic(body: &str) -> bool {
    let body = body.to_lowercase();
    MACHINE_PHRASES.iter().any(|phrase| body.contains(phrase))
}

/// Returns whether an inbound message may get an automatic reply.
///
/// Twilio confirms opt-out and opt-in keywords itself. The help keyword gets a reply.
#[must_use]
pub fn may_be_answered(sender: &InboundSender, body: &str) -> bool {
    matches!(sender, InboundSender::Number(_))
        && !keywords::is_reaction(body)
        && !matches!(keywords::classify(body), Some(Keyword::Stop { .. } | Keyword::Start { .. }))
        && !looks_automatic(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_messages_from_people_that_are_not_keywords_get_an_automatic_reply() {
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
            assert_eq!(may_be_answered(&InboundSender::from_twilio(from), body), expected, "{from} {body:?}");
        }
    }
}
