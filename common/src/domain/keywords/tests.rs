//! The classifier against texts that it was not learned from, and its edges.

use std::fmt;

use super::alone::OTHER_STOP_WORDS;
use super::learning::{Text, read};
use super::*;

const CLASSES: [OptOut; 3] = [OptOut::OptOut, OptOut::Unsure, OptOut::None];

/// How many texts of each label got each result.
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

    /// Returns how many per cent of the texts of a label got a result.
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
