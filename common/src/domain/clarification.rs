//! The texts that ask what a refusal means.
//!
//! After a refusal, 47 CFR 64.1200(a)(12) allows one text within five minutes that confirms it, without advertisement.
//! It may ask what was meant; everything stays stopped without an answer. So the texts are not configurable.

use super::language::Language;
use std::time::Duration;

/// The longest time after the answered message: five minutes, 47 CFR 64.1200(a)(12).
pub const MAX_DELAY: Duration = Duration::from_secs(300);

/// Returns the text for a refusal in free text, which has stopped all messages. Unknown languages get English.
#[must_use]
pub const fn refusal_text(language: Language) -> &'static str {
    match language {
        Language::En | Language::Unknown => {
            "We have stopped all text messages to you. Reply START to get them again."
        }
        Language::Es => "Ya no le enviaremos mensajes. Responda START para recibirlos de nuevo.",
        Language::Pt => "Paramos de lhe enviar mensagens. Responda START para voltar a receber.",
    }
}

/// Returns the text for a message that may be a refusal, and has stopped nothing.
#[must_use]
pub const fn question_text(language: Language) -> &'static str {
    match language {
        Language::En | Language::Unknown => {
            "Should we stop texting you? Reply STOP to stop all messages, or START to continue. Without a reply they \
             continue."
        }
        Language::Es => {
            "¿Desea dejar de recibir nuestros mensajes? Responda STOP para no recibir ninguno, o START para \
             continuar. Sin respuesta, continuaremos."
        }
        Language::Pt => {
            "Deseja parar de receber nossas mensagens? Responda STOP para parar todas, ou START para continuar. Sem \
             resposta, continuaremos."
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::segments::{self, Encoding};

    #[test]
    fn each_text_is_one_segment_and_says_how_to_get_messages() {
        for language in [Language::En, Language::Es, Language::Pt, Language::Unknown] {
            for text in [refusal_text(language), question_text(language)] {
                let cost = segments::count(text);
                assert_eq!((cost.encoding, cost.segments), (Encoding::Gsm7, 1), "{text}");
                assert!(text.contains("START"), "{text}");
            }
        }
    }
}
