//! What the endpoints of templates share: the fields of a request, the id in a path, and the representation. Bulk
//! requests have their own texts, which [`texts`] reads too.

use crate::db::templates;
use crate::domain::ids::TemplateId;
use crate::domain::language::Language;
use crate::domain::segments::{self, Encoding};
use crate::domain::template::{TemplateText, Texts, TextsError};
use crate::http::{ApiError, Fields, HttpRequestExt, Request, ValidationError};
use crate::service::sending::MAX_BODY;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

/// The longest name of a template, in characters.
const MAX_NAME: usize = 255;

/// Reads the texts of a request: the object `texts` with `en`, `es` and `pt`, and `fallback`. Problems are recorded in
/// `fields`. Returns `None` if there are problems, or no `texts`.
pub fn texts(fields: &mut Fields) -> Option<Texts> {
    let fallback = fallback(fields);
    let [en, es, pt] = given(fields)?;
    if fields.has_problem("fallback") {
        return None;
    }
    let texts = Texts::new(en, es, pt, fallback).map_err(|error| {
        let field = match error {
            TextsError::Empty => "texts",
            TextsError::NoFallback(_) => "fallback",
        };
        fields.problem(field, error.to_string());
    });
    texts.ok()
}

fn fallback(fields: &mut Fields) -> Option<Language> {
    let language: Option<Language> = fields.text("fallback")?.parse().ok();
    let language = language.filter(|language| *language != Language::Unknown);
    if language.is_none() {
        fields.problem("fallback", "must be en, es or pt");
    }
    language
}

/// Reads the texts in English, Spanish and Portuguese.
fn given(fields: &mut Fields) -> Option<[Option<TemplateText>; 3]> {
    let mut entries = fields.entries("texts")?;
    let texts = ["en", "es", "pt"].map(|language| text(&mut entries, language));
    let problems = entries.finish();
    for problem in problems.fields() {
        fields.problem(format!("texts.{}", problem.field), problem.reason.clone());
    }
    problems.is_empty().then_some(texts)
}

fn text(entries: &mut Fields, language: &str) -> Option<TemplateText> {
    let text = entries.text(language)?;
    let characters = text.chars().count();
    let reason = if text.trim().is_empty() {
        "is blank".to_owned()
    } else if characters > MAX_BODY {
        format!("has {characters} characters; {MAX_BODY} are allowed")
    } else {
        match TemplateText::parse(&text) {
            Ok(parsed) => return Some(parsed),
            Err(error) => error.to_string(),
        }
    };
    entries.problem(language, reason);
    None
}

/// Reads the name and the texts of a template, which are required. Problems are recorded in `fields`.
pub fn content(fields: &mut Fields) -> Option<(String, Texts)> {
    let name = name(fields);
    if !fields.has("texts") {
        fields.missing("texts");
    }
    name.zip(texts(fields))
}

fn name(fields: &mut Fields) -> Option<String> {
    let name = fields.required_text("name")?;
    if name.trim().is_empty() {
        fields.problem("name", "is blank");
        return None;
    }
    if name.chars().count() > MAX_NAME {
        fields.problem("name", format!("has more than {MAX_NAME} characters"));
        return None;
    }
    Some(name)
}

/// Returns the template id in a request's path.
///
/// # Errors
///
/// [`ApiError::Validation`] when it is not a UUID.
pub fn id(request: &Request) -> Result<TemplateId, ApiError> {
    let id = request.path_parameter("id")?;
    id.parse().map_err(|_| ValidationError::field("id", "is not a UUID").into())
}

/// The error for a template that does not exist, or was deleted.
#[must_use]
pub fn not_found() -> ApiError {
    ApiError::NotFound("the template")
}

/// The error for a name that another template has.
#[must_use]
pub fn name_taken() -> ApiError {
    ApiError::Conflict("another template has this name".into())
}

/// The texts of a request; at least one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "en": "Hi {{name}}, your rent of {{amount}} is due on the 1st.",
    "es": "Hola {{name}}, su renta de {{amount}} vence el día 1."
}))]
pub struct NewTexts {
    /// English.
    #[schema(min_length = 1, max_length = 1600)]
    pub en: Option<String>,
    /// Spanish.
    #[schema(min_length = 1, max_length = 1600)]
    pub es: Option<String>,
    /// Portuguese.
    #[schema(min_length = 1, max_length = 1600)]
    pub pt: Option<String>,
}

/// A message template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({
    "id": "01900000-0000-7000-8000-0000000000b1", "name": "Rent reminder", "version": 2,
    "texts": {
        "en": "Hi {{name}}, your rent of {{amount}} is due on the 1st.",
        "es": "Hola {{name}}, su renta de {{amount}} vence el día 1."
    },
    "fallback": "en", "variables": ["amount", "name"],
    "segments": {"en": {"encoding": "GSM-7", "segments": 1}, "es": {"encoding": "UCS-2", "segments": 1}},
    "created_at": "2026-11-01T12:00:00Z", "updated_at": "2026-11-02T12:00:00Z"
}))]
pub struct Template {
    /// Template id.
    #[schema(value_type = uuid::Uuid)]
    pub id: TemplateId,
    /// Name in this version.
    pub name: String,
    /// Number of the version, starting at 1.
    pub version: i32,
    /// Texts by language.
    pub texts: TemplateTexts,
    /// Language of the text for recipients for whose languages there is none: `en`, `es` or `pt`.
    #[schema(value_type = String)]
    pub fallback: Language,
    /// Names of the variables of all texts.
    pub variables: Vec<String>,
    /// Encoding and number of segments of each text as it is written here, with its placeholders. Values change both;
    /// the dry run of a bulk request has the exact figures.
    pub segments: TemplateSegments,
    /// Time when the template was created.
    pub created_at: Timestamp,
    /// Time when this version was written.
    pub updated_at: Timestamp,
}

/// Texts by language; at least one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct TemplateTexts {
    /// English.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub en: Option<String>,
    /// Spanish.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub es: Option<String>,
    /// Portuguese.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pt: Option<String>,
}

/// Segments by language, of the languages that have a text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct TemplateSegments {
    /// English.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub en: Option<TextSegments>,
    /// Spanish.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub es: Option<TextSegments>,
    /// Portuguese.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pt: Option<TextSegments>,
}

/// Encoding and number of segments of a text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct TextSegments {
    /// Encoding: `GSM-7` or `UCS-2`.
    pub encoding: Encoding,
    /// Number of segments.
    pub segments: usize,
}

impl From<templates::Template> for Template {
    fn from(stored: templates::Template) -> Self {
        let templates::Template { id, name, version, texts, created_at, updated_at } = stored;
        let text = |language| texts.get(language).map(|text| text.as_str().to_owned());
        let count = |language| {
            let counted = segments::count(texts.get(language)?.as_str());
            Some(TextSegments { encoding: counted.encoding, segments: counted.segments })
        };
        Self {
            id,
            name,
            version,
            texts: TemplateTexts { en: text(Language::En), es: text(Language::Es), pt: text(Language::Pt) },
            fallback: texts.fallback(),
            variables: texts.variables().into_iter().map(str::to_owned).collect(),
            segments: TemplateSegments {
                en: count(Language::En),
                es: count(Language::Es),
                pt: count(Language::Pt),
            },
            created_at,
            updated_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// Returns the content of a request, or the problems.
    fn read(body: &Value) -> Result<(String, Texts), String> {
        let mut fields = Fields::from_slice(body.to_string().as_bytes()).unwrap();
        let read = content(&mut fields);
        fields.finish_with(read).map_err(|problems| problems.sentences())
    }

    #[test]
    fn texts_are_read_with_their_fallback() {
        let (name, texts) =
            read(&json!({"name": "Rent", "texts": {"en": null, "es": "{{a}}", "pt": "b"}})).unwrap();
        assert_eq!((name.as_str(), texts.fallback()), ("Rent", Language::Es));
        let listed: Vec<_> = texts.languages().map(|(language, text)| (language, text.as_str())).collect();
        assert_eq!(listed, [(Language::Es, "{{a}}"), (Language::Pt, "b")]);
        let body = json!({"name": "Rent", "texts": {"en": "a", "pt": "b"}, "fallback": "pt"});
        assert_eq!(read(&body).unwrap().1.fallback(), Language::Pt);
        let longest = json!({"name": "ñ".repeat(255), "texts": {"en": "ñ".repeat(1600)}});
        assert!(read(&longest).is_ok());
    }

    #[test]
    fn every_problem_names_its_field() {
        for (body, problems) in [
            (json!({}), "name is missing; texts is missing"),
            (json!({"name": "a", "texts": null}), "texts is missing"),
            (json!({"name": " ", "texts": {"en": "a"}}), "name is blank"),
            (json!({"name": "a".repeat(256), "texts": {"en": "a"}}), "name has more than 255 characters"),
            (json!({"name": "a", "texts": "b"}), "texts must be an object, not a string"),
            (json!({"name": "a", "texts": {}}), "texts has no text"),
            (json!({"name": "a", "texts": {"en": null}}), "texts has no text"),
            (
                json!({"name": "a", "texts": {"en": "{{", "es": 1, "pt": " ", "fr": "x"}}),
                "texts.en has {{ at character 1, which is not closed by }}; \
                 texts.es must be a string, not a number; texts.pt is blank; \
                 texts.fr is not a field of this request",
            ),
            (json!({"name": "a", "texts": {"es": "a\u{0}b"}}), "texts.es contains a NUL character"),
            (
                json!({"name": "a", "texts": {"es": "ñ".repeat(1601)}}),
                "texts.es has 1601 characters; 1600 are allowed",
            ),
            (json!({"name": "a", "texts": {"es": "{{}}"}}), "texts.es has {{ at character 1, without a name"),
            (json!({"name": "a", "texts": {"es": "b"}, "fallback": "fr"}), "fallback must be en, es or pt"),
            (
                json!({"name": "a", "texts": {"es": "b"}, "fallback": "unknown"}),
                "fallback must be en, es or pt",
            ),
            (
                json!({"name": "a", "texts": {"es": "b"}, "fallback": "en"}),
                "fallback is en, for which there is no text",
            ),
            (
                json!({"name": "a", "texts": {"es": ""}, "fallback": 1}),
                "fallback must be a string, not a number; texts.es is blank",
            ),
        ] {
            assert_eq!(read(&body).unwrap_err(), problems, "{body}");
        }
        let twice = br#"{"name": "a", "texts": {"en": "a", "en": "b"}}"#;
        let mut fields = Fields::from_slice(twice).unwrap();
        assert_eq!(content(&mut fields), None);
        assert_eq!(fields.finish().sentences(), "texts.en is given more than once");
    }
}
