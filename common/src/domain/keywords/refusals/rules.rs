//! The patterns of free-text refusals, in English, Spanish and Portuguese.
//!
//! Words are folded: lower case, no accents, no apostrophes. One rule per way of saying it; the sets hold the ways
//! of spelling it. The examples each rule is for stand in the table of the tests.

mod english;
mod portuguese;
mod spanish;

/// Words of which any one will do.
pub(super) type Set = &'static [&'static str];

/// One step of a pattern.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    /// One of these words.
    Is(Set),
    /// One of these words, or none.
    May(Set),
    /// Any number of these words.
    Many(Set),
    /// None of these words comes next; takes no word.
    Not(Set),
    /// The clause ends here.
    End,
}

/// Where in its clause a pattern may begin.
#[derive(Debug, Clone, Copy)]
pub(super) enum Where {
    /// At its first word only.
    Start,
    /// At its first word only, unless the sentence goes on about something else ("please stop, you are at the wrong unit").
    Bare,
    /// Anywhere: the pattern itself leaves no doubt.
    Anywhere,
    /// Anywhere, unless the words before turn it round ("don't stop …") or give it to others ("to stop …").
    Order,
    /// Anywhere, unless it is said of somebody ("you never text me back").
    Prohibition,
    /// Anywhere, unless turned round or told to somebody else ("dígale al vecino que deje de molestar").
    Wish,
}

/// A way of refusing messages.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) place: Where,
    pub(super) steps: &'static [Step],
}

const fn order(steps: &'static [Step]) -> Rule {
    Rule { place: Where::Order, steps }
}

const fn prohibition(steps: &'static [Step]) -> Rule {
    Rule { place: Where::Prohibition, steps }
}

const fn wish(steps: &'static [Step]) -> Rule {
    Rule { place: Where::Wish, steps }
}

const fn anywhere(steps: &'static [Step]) -> Rule {
    Rule { place: Where::Anywhere, steps }
}

const fn at_start(steps: &'static [Step]) -> Rule {
    Rule { place: Where::Start, steps }
}

const fn bare(steps: &'static [Step]) -> Rule {
    Rule { place: Where::Bare, steps }
}

/// All the rules; the first that matches wins.
pub(super) const RULES: [&[Rule]; 3] = [english::RULES, spanish::RULES, portuguese::RULES];

/// What may follow a refusal without changing it.
const COURTESY: Set =
    &["por", "favor", "pfv", "porfa", "obrigado", "obrigada", "gracias", "ya", "ja", "mais"];
/// A message refused because of what it says or who it is from is no refusal of all.
const PARTIAL: Set = &["about", "from", "sobre", "acerca"];
