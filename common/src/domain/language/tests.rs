//! Tests of the detector with texts that are not in its training material. `local/cases` runs the external cases.

use super::*;

#[test]
fn at_least_97_percent_of_the_held_out_texts_are_detected() {
    let mut right = 0;
    let mut mistakes = Vec::new();
    let lines = include_str!("heldout.tsv").lines().filter(|line| !line.starts_with("# "));
    for (name, text) in lines.clone().map(|line| line.split_once('\t').unwrap()) {
        let text = text.replace("\\n", "\n");
        let detection = detect(&text);
        match detection.language.as_str() == name {
            true => right += 1,
            false => {
                mistakes.push(format!("{name} {} {:.2} {text:?}", detection.language, detection.confidence))
            }
        }
    }
    let all = lines.count();
    println!("{right} of {all} {mistakes:#?}");
    assert!(right * 100 >= all * 97, "{right} of {all}: {mistakes:#?}");
}

#[test]
fn texts_without_a_language_are_unknown() {
    for text in [
        "",
        " ",
        "\n\n",
        "👍🏽🔥",
        "12345",
        "3pm",
        "10:30AM",
        "$1,250.00",
        "4B",
        "a@b.com",
        "https://example.com/pay",
        "你好",
        "Привет",
    ] {
        assert_eq!(detect(text).language, Language::Unknown, "{text:?}");
    }
}

#[test]
fn the_content_decides_in_mixed_texts() {
    for (text, language) in [
        ("Hola, the heater in my bedroom is broken", Language::En),
        ("Thanks for everything, gracias", Language::En),
        ("el heater no sirve y el landlord no contesta", Language::Es),
        ("o heater não funciona, call me", Language::Pt),
        ("Gracias\nJohn Smith\n123 Main St apt 4", Language::Es),
        ("no puedo hoy\n\nSent from my iPhone", Language::Es),
        ("não posso hoje\nEnviado do meu iPhone", Language::Pt),
        ("The rent is paid\nEnviado desde mi iPhone\n", Language::En),
    ] {
        assert_eq!(detect(text).language, language, "{text:?}");
    }
}

#[test]
fn capitals_missing_accents_and_repeated_letters_change_nothing() {
    for (text, language) in [
        ("NO TENGO CALEFACCIÓN", Language::Es),
        ("no tengo calefaccion", Language::Es),
        ("não tem água", Language::Pt),
        ("nao tem agua", Language::Pt),
        ("nãooooo tem água", Language::Pt),
        ("thaaaanks", Language::En),
        ("siiiiii", Language::Es),
        // Combining accents (Unicode NFD).
        ("na\u{303}o tem a\u{301}gua", Language::Pt),
    ] {
        assert_eq!(detect(text).language, language, "{text:?}");
    }
}

#[test]
fn confidences_are_hundredths_between_zero_and_one() {
    for text in ["hola", "por favor", "no", "Maria", "ok", "pago", "the rent is paid", ""] {
        let confidence = detect(text).confidence;
        assert!((0.0..1.0).contains(&confidence), "{text:?} {confidence}");
        assert_eq!((confidence * 100.0).round() / 100.0, confidence, "{text:?}");
    }
}

#[test]
fn language_names_are_parsed_as_they_are_written() {
    for language in [Language::En, Language::Es, Language::Pt, Language::Unknown] {
        assert_eq!(language.to_string().parse(), Ok(language));
        assert_eq!(serde_json::to_value(language).unwrap(), language.as_str());
    }
    assert_eq!("fr".parse::<Language>(), Err(UnknownLanguageName));
}

proptest::proptest! {
    #[test]
    fn no_text_panics_and_surrounding_white_space_changes_nothing(text in "\\PC{0,200}") {
        let detection = detect(&text);
        proptest::prop_assert_eq!(detect(&format!("\n {text} \n")), detection);
    }
}
