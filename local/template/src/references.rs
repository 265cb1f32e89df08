//! Checks that all references in the template exist.
//!
//! Includes parts that the local stack does not evaluate (policies, alarms, outputs, overridden variables), because a
//! deployment would fail there.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::TemplateError;
use super::intrinsics::single_entry;

/// The pseudo parameters that `!Ref` accepts.
const PSEUDO_PARAMETERS: [&str; 8] = [
    "AWS::AccountId",
    "AWS::NoValue",
    "AWS::NotificationARNs",
    "AWS::Partition",
    "AWS::Region",
    "AWS::StackId",
    "AWS::StackName",
    "AWS::URLSuffix",
];

/// The names that a template declares.
struct Names<'d> {
    parameters: BTreeSet<&'d str>,
    resources: BTreeSet<&'d str>,
    /// SAM resources. SAM generates further resources with these names as prefixes, such as `…Role` and `…Url`.
    serverless: Vec<&'d str>,
    conditions: BTreeSet<&'d str>,
}

/// Checks all references in the document.
///
/// # Errors
///
/// The first reference to something that does not exist, with its location.
pub(super) fn check(document: &Value) -> Result<(), TemplateError> {
    let empty = Map::new();
    let section = |name: &str| document.get(name).and_then(Value::as_object).unwrap_or(&empty);
    let is_serverless = |resource: &Value| {
        resource.get("Type").and_then(Value::as_str).is_some_and(|kind| kind.starts_with("AWS::Serverless::"))
    };
    let resources = section("Resources");
    let names = Names {
        parameters: section("Parameters").keys().map(String::as_str).collect(),
        resources: resources.keys().map(String::as_str).collect(),
        serverless: resources
            .iter()
            .filter(|(_, resource)| is_serverless(resource))
            .map(|(id, _)| id.as_str())
            .collect(),
        conditions: section("Conditions").keys().map(String::as_str).collect(),
    };
    for (id, resource) in resources {
        names.definition(resource, id)?;
    }
    for part in ["Conditions", "Globals", "Outputs"] {
        for (id, definition) in section(part) {
            names.definition(definition, &format!("{part}.{id}"))?;
        }
    }
    Ok(())
}

impl Names<'_> {
    /// Checks a resource, output or condition, including its `Condition` and `DependsOn`.
    fn definition(&self, definition: &Value, at: &str) -> Result<(), TemplateError> {
        if let Some(name) = definition.get("Condition").and_then(Value::as_str) {
            self.condition(name).map_err(|reason| TemplateError::new(format!("{at}.Condition"), reason))?;
        }
        let depends_on = match definition.get("DependsOn") {
            Some(Value::Array(ids)) => ids.iter().collect(),
            Some(id) => vec![id],
            None => Vec::new(),
        };
        for id in depends_on.into_iter().filter_map(Value::as_str) {
            self.resource(id, "DependsOn")
                .map_err(|reason| TemplateError::new(format!("{at}.DependsOn"), reason))?;
        }
        self.walk(definition, at)
    }

    fn walk(&self, value: &Value, at: &str) -> Result<(), TemplateError> {
        match value {
            Value::Array(items) => items
                .iter()
                .enumerate()
                .try_for_each(|(index, item)| self.walk(item, &format!("{at}[{index}]"))),
            Value::Object(object) => {
                if let Some((function, argument)) = single_entry(object) {
                    self.call(function, argument).map_err(|reason| TemplateError::new(at, reason))?;
                }
                object.iter().try_for_each(|(key, value)| {
                    let is_function = key == "Ref" || key.starts_with("Fn::");
                    let at = if is_function { at.to_owned() } else { format!("{at}.{key}") };
                    self.walk(value, &at)
                })
            }
            _ => Ok(()),
        }
    }

    fn call(&self, function: &str, argument: &Value) -> Result<(), String> {
        match (function, argument) {
            ("Ref", Value::String(name)) => self.reference(name, "!Ref"),
            ("Fn::GetAtt", Value::Array(path)) => match path.first().and_then(Value::as_str) {
                Some(id) => self.resource(id, "!GetAtt"),
                None => Ok(()),
            },
            ("Fn::If", Value::Array(items)) => match items.first().and_then(Value::as_str) {
                Some(condition) => self.condition(condition),
                None => Ok(()),
            },
            ("Fn::Sub", Value::String(pattern)) => self.pattern(pattern, None),
            ("Fn::Sub", Value::Array(items)) => match items.as_slice() {
                [Value::String(pattern), Value::Object(own)] => self.pattern(pattern, Some(own)),
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn pattern(&self, pattern: &str, own: Option<&Map<String, Value>>) -> Result<(), String> {
        for name in pattern.split("${").skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name)
        {
            if name.starts_with('!') || own.is_some_and(|own| own.contains_key(name)) {
                continue;
            }
            match name.split_once('.') {
                Some((id, _)) => self.resource(id, "!Sub")?,
                None => self.reference(name, "!Sub")?,
            }
        }
        Ok(())
    }

    fn reference(&self, name: &str, function: &str) -> Result<(), String> {
        if PSEUDO_PARAMETERS.contains(&name) || self.parameters.contains(name) || self.is_resource(name) {
            return Ok(());
        }
        Err(format!("{function} {name}: no such parameter or resource"))
    }

    fn resource(&self, id: &str, function: &str) -> Result<(), String> {
        if self.is_resource(id) { Ok(()) } else { Err(format!("{function} {id}: no such resource {id}")) }
    }

    fn is_resource(&self, id: &str) -> bool {
        // SAM generates this API if no resource declares one.
        id == "ServerlessHttpApi"
            || self.resources.contains(id)
            || self.serverless.iter().any(|prefix| id.starts_with(prefix))
    }

    fn condition(&self, name: &str) -> Result<(), String> {
        if self.conditions.contains(name) { Ok(()) } else { Err(format!("no such condition {name}")) }
    }
}
