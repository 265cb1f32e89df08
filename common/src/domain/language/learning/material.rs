//! The training material with classes and weights.

use std::collections::HashSet;

use super::Words;

const MATERIAL: [(&str, &str, usize); 9] = [
    ("sentences.en.txt", include_str!("../material/sentences.en.txt"), 0),
    ("sentences.es.txt", include_str!("../material/sentences.es.txt"), 1),
    ("sentences.pt.txt", include_str!("../material/sentences.pt.txt"), 2),
    ("words.en.txt", include_str!("../material/words.en.txt"), 0),
    ("words.es.txt", include_str!("../material/words.es.txt"), 1),
    ("words.pt.txt", include_str!("../material/words.pt.txt"), 2),
    ("sentences.none.txt", include_str!("../material/sentences.none.txt"), NONE),
    ("words.none.txt", include_str!("../material/words.none.txt"), NONE),
    ("words.other.txt", include_str!("../material/words.other.txt"), NONE),
];

/// A text of the material.
#[derive(Clone)]
pub(super) struct Text {
    pub(super) text: String,
    pub(super) class: usize,
    pub(super) weight: f32,
    pub(super) is_word: bool,
    pub(super) is_name: bool,
}

/// Reads the material. `sentences` has a text per line, `words` a text per word. Lines that start with `# ` are
/// comments.
pub(super) fn material() -> Vec<Text> {
    let mut texts = Vec::new();
    for (name, content, class) in MATERIAL {
        let is_word = name.starts_with("words");
        let is_name = name == "words.none.txt";
        let lines = content.lines().filter(|line| !line.is_empty() && !line.starts_with("# "));
        for line in lines {
            if is_word {
                let words = line.split_whitespace();
                texts.extend(words.map(|word| Text {
                    text: word.to_owned(),
                    class,
                    weight: if name == "words.other.txt" { OTHER_WEIGHT } else { WORD_WEIGHT },
                    is_word,
                    is_name,
                }));
            } else {
                texts.push(Text {
                    text: line.replace("\\n", "\n"),
                    class,
                    weight: if class == NONE { NONE_WEIGHT } else { 1.0 },
                    is_word,
                    is_name,
                });
            }
        }
    }
    favour_spanish(&mut texts);
    let mut texts = without_shared(texts);
    texts.extend(full_names(&texts));
    texts
}

/// Gives texts that are both Spanish and Portuguese more weight in Spanish, which many more tenants write.
fn favour_spanish(texts: &mut [Text]) {
    let portuguese: HashSet<String> = texts
        .iter()
        .filter(|text| !text.is_word && text.class == PORTUGUESE)
        .map(|text| text.text.clone())
        .collect();
    let is_shared =
        |text: &&mut Text| !text.is_word && text.class == SPANISH && portuguese.contains(&text.text);
    texts.iter_mut().filter(is_shared).for_each(|text| text.weight = SHARED_WEIGHT);
}

/// Removes words of other languages that also exist in one of our languages.
fn without_shared(texts: Vec<Text>) -> Vec<Text> {
    let plain = |text: &Text| Words::of(&text.text).next().map(|word| word.without_accents().unwrap_or(word));
    let spelling = |text: &Text| plain(text).map(|word| word.letters().to_vec());
    let ours: HashSet<_> =
        texts.iter().filter(|text| text.is_word && text.class != NONE).filter_map(spelling).collect();
    let is_shared = |text: &Text| spelling(text).is_some_and(|letters| ours.contains(&letters));
    let is_other = |text: &Text| text.is_word && text.class == NONE && !text.is_name;
    texts.into_iter().filter(|text| !(is_other(text) && is_shared(text))).collect()
}

/// Combines names to full names, which people sign with.
fn full_names(texts: &[Text]) -> Vec<Text> {
    let names: Vec<&str> = texts.iter().filter(|text| text.is_name).map(|text| text.text.as_str()).collect();
    let capital = |name: &str| name[..1].to_uppercase() + &name[1..];
    let is_plain = |name: &&str| name.is_ascii() && name.len() > 2;
    let seconds = names.iter().cycle().skip(names.len() / 2).step_by(7);
    let pairs = names.iter().zip(seconds).filter(|(first, second)| is_plain(first) && is_plain(second));
    let text = |(first, second): (&&str, &&str)| Text {
        text: format!("{} {}", capital(first), capital(second)),
        class: NONE,
        weight: FULL_NAME_WEIGHT,
        is_word: false,
        is_name: true,
    };
    pairs.map(text).collect()
}

const SPANISH: usize = 1;
const PORTUGUESE: usize = 2;
/// The class of texts in none of our languages.
pub(super) const NONE: usize = 3;
/// The weight of texts of class [`NONE`]. There are fewer of them.
const NONE_WEIGHT: f32 = 2.0;
/// The weight of a Spanish text that is also Portuguese.
const SHARED_WEIGHT: f32 = 2.0;
/// The weight of a single word, relative to a sentence.
const WORD_WEIGHT: f32 = 0.4;
/// The weight of a word of another language. There are few of them.
const OTHER_WEIGHT: f32 = 1.0;
/// The weight of a full name. There are many of them.
const FULL_NAME_WEIGHT: f32 = 0.25;

/// Returns the fingerprint of the material, which is stored in the table.
pub(super) fn fingerprint() -> u64 {
    MATERIAL.iter().flat_map(|(_, content, _)| content.bytes()).fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
