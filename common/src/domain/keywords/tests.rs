//! Tests of the classifier with texts that are not in its training material.

use std::fmt;

use super::alone::OTHER_STOP_WORDS;
use super::learning::{Text, read};
use super::*;

const CLASSES: [OptOut; 3] = [OptOut::OptOut, OptOut::Unsure, OptOut::None];

/// The number of texts by label and result.
#[derive(Default)]
pub(super) struct Tally {
    counts: [[usize; 3]; 3],
    pub(super) mistakes: Vec<String>,
}

impl Tally {
    pub(super) fn add(&mut self, text: &Text, result: OptOut) {
        let class = CLASSES.iter().position(|&class| class == result).unwrap();
        self.counts[text.class][class] += 1;
        if class != text.class {
            let mistake = format!("{} as {}: {:?}", CLASSES[text.class].as_str(), result.as_str(), text.text);
            self.mistakes.push(mistake);
        }
    }

    fn of(texts: &[Text]) -> Self {
        let mut tally = Self::default();
        texts.iter().for_each(|text| tally.add(text, OptOut::of(classify(&text.text).as_ref())));
        tally
    }

    fn total(&self, class: usize) -> usize {
        self.counts[class].iter().sum()
    }

    /// Returns the percentage of a label's texts with a result.
    fn share(&self, class: usize, result: usize) -> f64 {
        100.0 * self.counts[class][result] as f64 / self.total(class).max(1) as f64
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [[found, doubted, missed], [unsure_out, unsure, unsure_none], [mistaken, asked, _]] = self.counts;
        write!(
            f,
            "opt_out={found}/{} missed={missed} doubted={doubted} false={mistaken}/{} asked={asked} \
             unsure={unsure}/{} as_opt_out={unsure_out} as_none={unsure_none}",
            self.total(0),
            self.total(2),
            self.total(1),
        )
    }
}

fn result(body: &str) -> OptOut {
    OptOut::of(classify(body).as_ref())
}

/// The targets are 93 % found, 2 % missed, 1 % false, on texts that were not used for tuning. The asserted
/// bounds are a little wider, because three texts of a hundred are within chance.
#[test]
fn texts_by_an_independent_author_are_classified_as_they_labelled_them() {
    for (name, texts) in
        [("independent", include_str!("independent.tsv")), ("kept back", include_str!("kept_back.tsv"))]
    {
        let tally = Tally::of(&read(texts));
        println!("{name}: {tally} {:#?}", tally.mistakes);
        assert!(tally.share(0, 0) >= 92.0, "{name}: {tally}");
        assert!(tally.share(0, 2) <= 2.0, "{name}: {tally}");
        assert!(tally.share(2, 0) <= 3.5, "{name}: {tally}");
        assert!(tally.share(1, 0) <= 5.0, "{name}: {tally}");
    }
}

#[test]
fn every_word_is_found_alone_with_a_courtesy_and_with_a_signature() {
    for word in TWILIO_STOP_WORDS.iter().chain(OTHER_STOP_WORDS) {
        let shout = word.to_uppercase();
        let spaced: Vec<String> = shout.chars().map(String::from).collect();
        for body in [
            (*word).to_owned(),
            format!("  {word}.\n"),
            format!("¡{shout}!! 😡"),
            format!("\"{word}\""),
            spaced.join(" "),
            spaced.join("."),
            format!("{word} please"),
            format!("Please {word}"),
            format!("Hi, {word} please. Have a nice day"),
            format!("{shout}, gracias"),
            format!("Por favor {word}"),
            format!("Buenas tardes, {word} por favor, muchas gracias"),
            format!("{word} por favor obrigado"),
            format!("{shout} {shout} {shout}"),
            format!("{word} period"),
            format!("Reply {shout}"),
            format!("{shout}\n\nSent from my iPhone"),
            format!("{shout}\nEnviado desde mi iPhone"),
            format!("{shout} - Lupita, apto 6"),
            format!("{word}\nJohn Smith\nUnit 12"),
            format!("{word}, Maria"),
            shout.chars().map(|c| char::from_u32(u32::from(c) + 0xfee0).unwrap()).collect(),
            shout.chars().map(|c| char::from_u32(0x1d400 + u32::from(c) - 65).unwrap()).collect(),
            shout.chars().flat_map(|c| [c, '\u{200b}']).collect(),
        ] {
            let found = classify(&body);
            assert!(
                matches!(&found, Some(Keyword::Stop { words, kind: StopKind::Word }) if words == word),
                "{body:?} {found:?}"
            );
        }
    }
}

#[test]
fn spellings_and_typing_errors_of_a_word_are_that_word() {
    for (body, word) in [
        ("STOP ALL", "stopall"),
        ("opt-out", "optout"),
        ("Opt out.", "optout"),
        ("un sub scribe", "unsubscribe"),
        ("Párar", "parar"),
        ("stoooop", "stop"),
        ("sotp", "stop"),
        ("st0p", "stop"),
        ("unsubcribe", "unsubscribe"),
        ("cancle", "cancel"),
        ("canselar", "cancelar"),
        ("STOP, cancel, unsubscribe", "stop"),
        ("Reply STOP to unsubscribe", "stop"),
    ] {
        let expected = Keyword::Stop { words: Cow::Borrowed(word), kind: StopKind::Word };
        assert_eq!(classify(body), Some(expected), "{body:?}");
    }
    for body in [
        "shop",
        "step",
        "top",
        "cancer",
        "pagar",
        "bajo",
        "quiet",
        "stop by",
        "end unit",
        "STOP! Gas leak in 3B",
    ] {
        assert_ne!(result(body), OptOut::OptOut, "{body:?}");
    }
}

/// Examples of the classes in the labelling guide: opt-out, unsure, neither.
#[test]
fn texts_of_each_class_get_its_label() {
    for (expected, bodies) in [
        (
            OptOut::OptOut,
            &[
                "please stop texting me",
                "Could you stop sending me these?",
                "No more texts please",
                "remove me from the list",
                "take my number off your system",
                "I do not consent to these messages, stop",
                "wrong number, stop texting me",
                "My 60\" tv is fine, stop texting me",
                "call me instead, don't text me anymore",
                "I told you to stop texting me",
                "no me manden más mensajes",
                "ya no quiero recibir mensajes",
                "quítenme de la lista",
                "retiro mi consentimiento",
                "não quero mais receber mensagens",
                "me tirem da lista",
                "parem de me mandar mensagem",
            ][..],
        ),
        (
            OptOut::Unsure,
            &[
                "enough already",
                "ya basta",
                "wrong number",
                "who is this",
                "stop 😂",
                "🛑",
                "stop texting me about rent, I paid",
                "pause the texts for a while",
                "isso é spam",
                "número equivocado",
            ][..],
        ),
        (
            OptOut::None,
            &[
                "stop by tomorrow",
                "can you stop the leak",
                "cancel my appointment",
                "the end of the month",
                "no hay agua caliente",
                "vivo en la planta baja",
                "o cachorro não para de latir",
                "Does STOP cancel my work order?",
                "START",
                "turn the texts back on",
                "",
                " \n",
                "...",
                "123",
                "?!",
                "“”",
                "你好",
            ][..],
        ),
    ] {
        for body in bodies {
            assert_eq!(result(body), expected, "{body:?}");
        }
    }
}

#[test]
fn negations_reports_and_shouts_do_not_opt_out() {
    for body in [
        "please don't take me off the list",
        "I don't want you to stop texting me",
        "no need to stop the texts",
        "No me quiero dar de baja",
        "não quero sair da lista",
        "my son texted stop on my phone",
        "I texted STOP by accident",
        "stop calling, text me",
        "unsubscribe me from the emails, texts are fine",
        "why did you stop texting me",
        "Stop! Gas leak in 3B",
        "Alto, no entren, el perro está suelto",
        "the guy in 2A won't stop texting me",
    ] {
        assert_ne!(result(body), OptOut::OptOut, "{body:?}");
    }
}

#[test]
fn reactions_are_not_refusals_whatever_they_quote() {
    for body in [
        "Liked “Reply STOP to opt out.”",
        "Laughed at \"Your 60\" tv is here. Reply STOP to end\"",
        "👍 to “Rent is due. Reply STOP to opt out”",
        "Reacted 👍 to “Rent is due. Reply STOP to opt out”",
        "Le gustó “Responda ALTO”",
        "Amou “Responda SAIR”",
        "Removed a like from “Reply STOP to opt out”",
    ] {
        assert!(is_reaction(body), "{body:?}");
        assert_eq!(classify(body), None, "{body:?}");
    }
    for body in ["Liked “the pool” stop texting me", "my \"landlord\"", "to \"4B\"", "\"STOP\"", "I liked it"]
    {
        assert!(!is_reaction(body), "{body:?}");
    }
}

#[test]
fn start_and_help_must_be_the_whole_message() {
    for (body, word) in [("START", "start"), ("Yes!", "yes"), ("unstop 🙏", "unstop")] {
        assert_eq!(classify(body), Some(Keyword::Start { word }), "{body:?}");
    }
    for body in ["HELP", "help?", "info"] {
        assert_eq!(classify(body), Some(Keyword::Help), "{body:?}");
    }
    for body in ["yes please come", "please help", "start over"] {
        assert_eq!(classify(body), None, "{body:?}");
    }
}

#[test]
fn yes_opts_in_again_on_a_local_number_only() {
    let yes = classify("yes").unwrap();
    assert!(is_toll_free("+18885550100"));
    assert!(!is_toll_free("+18085550100"));
    assert!(!is_toll_free("+448005550100"));
    assert_eq!(yes.on_toll_free(), None);
    let unstop = classify("unstop").unwrap();
    assert_eq!(unstop.clone().on_toll_free(), Some(unstop));
    let baja = classify("baja").unwrap();
    assert_eq!(baja.clone().on_toll_free(), Some(baja), "a refusal counts on every number");
}

#[test]
fn what_everybody_is_told_to_write_is_a_command() {
    for (body, is_a_command) in [
        ("Stop.", true),
        ("HELP", true),
        ("unstop", true),
        ("yes", false),
        ("baja", false),
        ("please stop texting me", false),
        ("enough already", false),
    ] {
        assert_eq!(classify(body).unwrap().is_a_command(), is_a_command, "{body:?}");
    }
}

#[test]
fn the_ledger_gets_the_sentence_that_refused() {
    let refusal = classify("Hello. Please don’t text me again, I moved out. Thanks").unwrap();
    let words = Cow::Borrowed("please dont text me again, i moved out");
    assert_eq!(refusal, Keyword::Stop { words, kind: StopKind::FreeText });
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(body in "\\PC{0,300}") {
        let _ = classify(&body);
        let _ = is_reaction(&body);
    }
}
