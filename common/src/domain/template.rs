//! Message templates: texts with variables, one text per language.
//!
//! A variable is written `{{name}}`. There is no logic, no escaping and no default value
//! (`common/docs/decisions/0030-templates.md`).

use super::language::Language;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::str::FromStr;

/// What begins a variable.
const OPEN: &str = "{{";
/// What ends a variable.
const CLOSE: &str = "}}";
/// The longest name of a variable, in characters.
const MAX_NAME: usize = 64;

/// The languages of texts, in the order in which a fallback is chosen.
const LANGUAGES: [Language; 3] = [Language::En, Language::Es, Language::Pt];

/// A text is not a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("has {{{{ at character {position}, {problem}")]
pub struct TemplateError {
    /// The position of the `{{` in the text, in characters, starting at 1.
    pub position: usize,
    /// What is wrong with it.
    pub problem: VariableProblem,
}

/// What is wrong with a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VariableProblem {
    /// There is no `}}`, or another `{{` before it.
    #[error("which is not closed by }}}}")]
    NotClosed,
    /// There is nothing between the braces.
    #[error("without a name")]
    NoName,
    /// The name has other characters, or too many.
    #[error("whose name is not 1 to {MAX_NAME} ASCII letters, digits or underscores, starting with a letter")]
    InvalidName,
}

/// The variables of a text have no values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("has no value for {}", listed(.0))]
pub struct MissingVariables(pub BTreeSet<String>);

fn listed(names: &BTreeSet<String>) -> String {
    names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// A text with variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateText {
    source: String,
    /// The variables in the order of the text.
    uses: Vec<Use>,
}

/// A variable in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Use {
    /// Its place in the source, braces included.
    place: Range<usize>,
    name: String,
}

impl TemplateText {
    /// Parses a text. Spaces between the braces and the name are allowed. Single braces, and a `}}` without `{{`, are
    /// text.
    ///
    /// # Errors
    ///
    /// [`TemplateError`] for the first `{{` that is not followed by a valid name and `}}`.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut uses = Vec::new();
        let mut end = 0;
        while let Some(start) = text[end..].find(OPEN).map(|found| end + found) {
            let wrong = |problem| TemplateError { position: text[..start].chars().count() + 1, problem };
            let inside = start + OPEN.len();
            let length = text[inside..].find(CLOSE).ok_or_else(|| wrong(VariableProblem::NotClosed))?;
            let name = text[inside..inside + length].trim_matches(' ');
            check(name).map_err(wrong)?;
            end = inside + length + CLOSE.len();
            uses.push(Use { place: start..end, name: name.to_owned() });
        }
        Ok(Self { source: text.to_owned(), uses })
    }

    /// Returns the text as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// Returns the names of its variables.
    #[must_use]
    pub fn variables(&self) -> BTreeSet<&str> {
        self.uses.iter().map(|used| used.name.as_str()).collect()
    }

    /// Replaces the variables by their values. Values are inserted as they are: a value that contains `{{name}}` is not
    /// a template. Values of other variables are ignored.
    ///
    /// # Errors
    ///
    /// [`MissingVariables`] with all names that have no value.
    pub fn render(&self, variables: &BTreeMap<String, String>) -> Result<String, MissingVariables> {
        let mut rendered = String::with_capacity(self.source.len());
        let mut missing = BTreeSet::new();
        let mut end = 0;
        for Use { place, name } in &self.uses {
            rendered.push_str(&self.source[end..place.start]);
            match variables.get(name) {
                Some(value) => rendered.push_str(value),
                None => {
                    missing.insert(name.clone());
                }
            }
            end = place.end;
        }
        rendered.push_str(&self.source[end..]);
        if missing.is_empty() { Ok(rendered) } else { Err(MissingVariables(missing)) }
    }
}

impl FromStr for TemplateText {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        Self::parse(text)
    }
}

/// Checks what is between the braces, without spaces around it.
fn check(name: &str) -> Result<(), VariableProblem> {
    let is_name = name.len() <= MAX_NAME
        && name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    match name {
        _ if is_name => Ok(()),
        "" => Err(VariableProblem::NoName),
        _ if name.contains(OPEN) => Err(VariableProblem::NotClosed),
        _ => Err(VariableProblem::InvalidName),
    }
}

/// The texts are not complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TextsError {
    /// No language has a text.
    #[error("has no text")]
    Empty,
    /// The language of the fallback has no text.
    #[error("is {0}, for which there is no text")]
    NoFallback(Language),
}

/// The texts of a template: one per language, and which of them is used for all other languages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Texts {
    fallback: Language,
    fallback_text: TemplateText,
    others: Vec<(Language, TemplateText)>,
}

impl Texts {
    /// Combines texts. The default of the fallback is `en` if it has a text, else the first of `es` and `pt`.
    ///
    /// # Errors
    ///
    /// [`TextsError`] when there is no text, or none of the fallback.
    pub fn new(
        en: Option<TemplateText>,
        es: Option<TemplateText>,
        pt: Option<TemplateText>,
        fallback: Option<Language>,
    ) -> Result<Self, TextsError> {
        let given = LANGUAGES.into_iter().zip([en, es, pt]);
        let mut others: Vec<_> = given.filter_map(|(language, text)| Some((language, text?))).collect();
        let first = others.first().map(|(language, _)| *language).ok_or(TextsError::Empty)?;
        let wanted = fallback.unwrap_or(first);
        let position = others.iter().position(|(language, _)| *language == wanted);
        let (fallback, fallback_text) = others.remove(position.ok_or(TextsError::NoFallback(wanted))?);
        Ok(Self { fallback, fallback_text, others })
    }

    /// Returns the language of the text for all languages without a text.
    #[must_use]
    pub fn fallback(&self) -> Language {
        self.fallback
    }

    /// Returns the text of a language, if there is one.
    #[must_use]
    pub fn get(&self, language: Language) -> Option<&TemplateText> {
        if language == self.fallback {
            return Some(&self.fallback_text);
        }
        self.others.iter().find(|(other, _)| *other == language).map(|(_, text)| text)
    }

    /// Returns the languages that have a text, in the order `en`, `es`, `pt`.
    pub fn languages(&self) -> impl Iterator<Item = (Language, &TemplateText)> {
        LANGUAGES.into_iter().filter_map(move |language| self.get(language).map(|text| (language, text)))
    }

    /// Returns the text of the first of these languages that has one, else of the fallback.
    pub fn choose(&self, wanted: impl IntoIterator<Item = Language>) -> (Language, &TemplateText) {
        let mut wanted = wanted.into_iter();
        let found = wanted.find_map(|language| self.get(language).map(|text| (language, text)));
        found.unwrap_or((self.fallback, &self.fallback_text))
    }

    /// Returns the names of the variables of all texts.
    #[must_use]
    pub fn variables(&self) -> BTreeSet<&str> {
        self.languages().flat_map(|(_, text)| text.variables()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> TemplateText {
        TemplateText::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn values(values: &[(&str, &str)]) -> BTreeMap<String, String> {
        values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn names(text: &TemplateText) -> Vec<&str> {
        text.variables().into_iter().collect()
    }

    #[test]
    fn variables_are_replaced_by_their_values() {
        let text = parse("Hi {{name}}, {{ amount }} is due. Thanks, {{  name}}!");
        assert_eq!(names(&text), ["amount", "name"]);
        let given = values(&[("name", "Ana"), ("amount", "$1,250.00"), ("other", "x")]);
        assert_eq!(text.render(&given).unwrap(), "Hi Ana, $1,250.00 is due. Thanks, Ana!");
        assert_eq!(text.as_str(), "Hi {{name}}, {{ amount }} is due. Thanks, {{  name}}!");
        assert_eq!("{{a}}{{B_2}}".parse::<TemplateText>().map(|text| text.uses.len()), Ok(2));
    }

    #[test]
    fn values_are_inserted_as_they_are() {
        let text = parse("{{a}} {{b}}");
        let given = values(&[("a", "{{b}} & <b> {{"), ("b", "")]);
        assert_eq!(text.render(&given).unwrap(), "{{b}} & <b> {{ ");
    }

    #[test]
    fn all_missing_names_are_reported() {
        let text = parse("{{b}} {{c}} {{a}} {{b}}");
        let missing = text.render(&values(&[("c", "x"), ("B", "x")])).unwrap_err();
        assert_eq!(missing, MissingVariables(["a", "b"].map(str::to_owned).into()));
        assert_eq!(missing.to_string(), "has no value for a, b");
    }

    #[test]
    fn other_braces_are_text() {
        for text in ["", "no braces", "{", "}", "{name}", "{ {name} }", "}}", "a }} b", "{}", "}{", "é{ñ}"]
        {
            let parsed = parse(text);
            assert_eq!(parsed.render(&values(&[])), Ok(text.to_owned()));
            assert!(names(&parsed).is_empty(), "{text}");
        }
        assert_eq!(parse("{{name}}}").render(&values(&[("name", "Ana")])), Ok("Ana}".to_owned()));
        assert_eq!(parse("}} {{name}} }}").render(&values(&[("name", "Ana")])), Ok("}} Ana }}".to_owned()));
    }

    #[test]
    fn an_error_has_the_position_and_the_problem() {
        use VariableProblem::{InvalidName, NoName, NotClosed};
        let longest = "n".repeat(64);
        assert_eq!(names(&parse(&format!("{{{{{longest}}}}}"))), [longest.as_str()]);
        let too_long = format!("{{{{{longest}n}}}}");
        for (text, position, problem) in [
            ("{{", 1, NotClosed),
            ("Hi {{name}, {{amount}", 4, NotClosed),
            ("Hi {{name, {{amount}}", 4, NotClosed),
            ("{{name}} {{name", 10, NotClosed),
            ("{{name} }", 1, NotClosed),
            ("{{{{name}}}}", 1, NotClosed),
            ("{{}}", 1, NoName),
            ("¿Qué {{  }}?", 6, NoName),
            ("{{1}}", 1, InvalidName),
            ("{{_a}}", 1, InvalidName),
            ("{{a b}}", 1, InvalidName),
            ("{{a-b}}", 1, InvalidName),
            ("{{a.b}}", 1, InvalidName),
            ("{{#a}}{{/a}}", 1, InvalidName),
            ("{{{name}}}", 1, InvalidName),
            ("{{name\n}}", 1, InvalidName),
            ("{{\u{a0}name}}", 1, InvalidName),
            ("🏠 {{año}}", 3, InvalidName),
            ("{{имя}}", 1, InvalidName),
            ("{{nаme}}", 1, InvalidName),
            (too_long.as_str(), 1, InvalidName),
        ] {
            assert_eq!(TemplateText::parse(text), Err(TemplateError { position, problem }), "{text}");
        }
    }

    #[test]
    fn errors_complete_a_sentence_that_begins_with_the_field() {
        let reason = |text: &str| TemplateText::parse(text).unwrap_err().to_string();
        assert_eq!(reason("Hi {{"), "has {{ at character 4, which is not closed by }}");
        assert_eq!(reason("{{}}"), "has {{ at character 1, without a name");
        assert_eq!(
            reason("{{1}}"),
            "has {{ at character 1, whose name is not 1 to 64 ASCII letters, digits or underscores, \
             starting with a letter"
        );
        assert_eq!(TextsError::NoFallback(Language::Pt).to_string(), "is pt, for which there is no text");
    }

    #[test]
    fn a_text_can_have_a_thousand_variables() {
        let source: String = (0..1_000).map(|n| format!("{{{{v{n}}}}},")).collect();
        let text = parse(&source);
        assert_eq!(text.variables().len(), 1_000);
        assert_eq!(text.render(&values(&[])).unwrap_err().0.len(), 1_000);
        let given: BTreeMap<_, _> = (0..1_000).map(|n| (format!("v{n}"), n.to_string())).collect();
        let expected: String = (0..1_000).map(|n| format!("{n},")).collect();
        assert_eq!(text.render(&given), Ok(expected));
    }

    #[test]
    fn the_first_wanted_language_with_a_text_is_chosen() {
        let texts = Texts::new(Some(parse("{{a}}")), Some(parse("{{b}} {{a}}")), None, Some(Language::Es));
        let texts = texts.unwrap();
        let chosen = |wanted: &[Language]| texts.choose(wanted.iter().copied()).0;
        assert_eq!(chosen(&[Language::En, Language::Es]), Language::En);
        assert_eq!(chosen(&[Language::Unknown, Language::Pt, Language::En]), Language::En);
        for none in [&[][..], &[Language::Pt], &[Language::Unknown, Language::Pt]] {
            assert_eq!(texts.choose(none.iter().copied()), (Language::Es, &parse("{{b}} {{a}}")));
        }
        assert_eq!((texts.get(Language::Pt), texts.get(Language::Unknown)), (None, None));
        let listed: Vec<_> = texts.languages().map(|(language, text)| (language, text.as_str())).collect();
        assert_eq!(listed, [(Language::En, "{{a}}"), (Language::Es, "{{b}} {{a}}")]);
        assert_eq!(texts.variables().into_iter().collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn the_fallback_has_a_text() {
        let text = || Some(parse("x"));
        let fallback = |texts: Result<Texts, TextsError>| texts.map(|texts| texts.fallback());
        assert_eq!(fallback(Texts::new(text(), text(), text(), None)), Ok(Language::En));
        assert_eq!(fallback(Texts::new(None, text(), text(), None)), Ok(Language::Es));
        assert_eq!(fallback(Texts::new(None, None, text(), None)), Ok(Language::Pt));
        assert_eq!(fallback(Texts::new(text(), None, text(), Some(Language::Pt))), Ok(Language::Pt));
        assert_eq!(Texts::new(None, None, None, None), Err(TextsError::Empty));
        assert_eq!(Texts::new(None, None, None, Some(Language::En)), Err(TextsError::Empty));
        for missing in [Language::Es, Language::Unknown] {
            assert_eq!(Texts::new(text(), None, None, Some(missing)), Err(TextsError::NoFallback(missing)));
        }
    }

    proptest! {
        #[test]
        fn a_text_with_its_own_variables_as_values_stays_the_same(text in "[{}a_1é\n]{0,40}|\\PC{0,40}") {
            // With spaces inside the braces, it is written differently.
            prop_assume!(!text.contains(' '));
            if let Ok(parsed) = TemplateText::parse(&text) {
                let own = |name: &str| (name.to_owned(), format!("{{{{{name}}}}}"));
                let variables: BTreeMap<_, _> = parsed.variables().into_iter().map(own).collect();
                prop_assert_eq!(parsed.render(&variables), Ok(text));
            }
        }
    }
}
