//! Converts YAML with CloudFormation's short tags to JSON with the long function names: `!Ref X` is `{"Ref": "X"}`.

use saphyr::{LoadableYamlNode, ScalarOwned, YamlOwned};
use serde_json::{Map, Value, json};

use super::TemplateError;

/// Parses a YAML document.
///
/// # Errors
///
/// If the text is not valid YAML, or uses features that JSON does not have (keys that are not strings, aliases).
pub(super) fn load(text: &str) -> Result<Value, TemplateError> {
    let documents =
        YamlOwned::load_from_str(text).map_err(|error| TemplateError::new("template", error.to_string()))?;
    let document = documents.first().ok_or_else(|| TemplateError::new("template", "empty"))?;
    to_json(document, "template")
}

fn to_json(node: &YamlOwned, at: &str) -> Result<Value, TemplateError> {
    match node {
        YamlOwned::Value(ScalarOwned::Null) => Ok(Value::Null),
        YamlOwned::Value(ScalarOwned::Boolean(value)) => Ok(json!(value)),
        YamlOwned::Value(ScalarOwned::Integer(value)) => Ok(json!(value)),
        YamlOwned::Value(ScalarOwned::FloatingPoint(value)) => Ok(json!(value.into_inner())),
        YamlOwned::Value(ScalarOwned::String(value)) => Ok(json!(value)),
        YamlOwned::Sequence(items) => {
            items.iter().enumerate().map(|(i, item)| to_json(item, &format!("{at}[{i}]"))).collect()
        }
        YamlOwned::Mapping(entries) => {
            let mut object = Map::new();
            for (key, value) in entries {
                let key = scalar_key(key).ok_or_else(|| TemplateError::new(at, "a key is not a string"))?;
                object.insert(key.clone(), to_json(value, &format!("{at}.{key}"))?);
            }
            Ok(Value::Object(object))
        }
        YamlOwned::Tagged(tag, inner) => tagged(&tag.suffix, to_json(inner, at)?, at),
        YamlOwned::Representation(..) | YamlOwned::Alias(_) | YamlOwned::BadValue => {
            Err(TemplateError::new(at, "unsupported YAML feature"))
        }
    }
}

/// Returns a key as a string. Mappings have integer keys, for example account IDs.
fn scalar_key(key: &YamlOwned) -> Option<String> {
    match key {
        YamlOwned::Value(ScalarOwned::String(key)) => Some(key.clone()),
        YamlOwned::Value(ScalarOwned::Integer(key)) => Some(key.to_string()),
        _ => None,
    }
}

fn tagged(tag: &str, value: Value, at: &str) -> Result<Value, TemplateError> {
    match (tag, value) {
        ("Ref" | "Condition", value) => Ok(json!({ tag: value })),
        ("GetAtt", Value::String(path)) => match path.split_once('.') {
            Some((id, attribute)) => Ok(json!({ "Fn::GetAtt": [id, attribute] })),
            None => Err(TemplateError::new(at, format!("!GetAtt {path}: no attribute"))),
        },
        (function, value) => Ok(json!({ format!("Fn::{function}"): value })),
    }
}
