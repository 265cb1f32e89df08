//! CloudFormation's intrinsic functions, as far as the local stack needs them.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// The account ID in all local ARNs and queue URLs.
pub const ACCOUNT_ID: &str = "000000000000";

/// Evaluates intrinsic functions using the template and values of the running stack.
pub(crate) struct Resolver<'a> {
    document: &'a Value,
    region: &'a str,
    /// Values known only at run time: `Id` for `!Ref`, `Id.Attribute` for `!GetAtt`.
    runtime: &'a BTreeMap<String, String>,
}

impl<'a> Resolver<'a> {
    pub(crate) fn new(document: &'a Value, region: &'a str, runtime: &'a BTreeMap<String, String>) -> Self {
        Self { document, region, runtime }
    }

    /// Evaluates all intrinsic functions in `value`. Returns `None` for `AWS::NoValue`, which removes the property.
    ///
    /// # Errors
    ///
    /// The reason, without the location: the caller adds the logical ID and property.
    pub(crate) fn evaluate(&self, value: &Value) -> Result<Option<Value>, String> {
        match value {
            Value::Object(object) => {
                if let Some((name, argument)) = single_entry(object)
                    && (name == "Ref" || name.starts_with("Fn::"))
                {
                    return self.call(name, argument);
                }
                let mut evaluated = Map::new();
                for (key, value) in object {
                    if let Some(value) = self.evaluate(value).map_err(|reason| format!("{key}: {reason}"))? {
                        evaluated.insert(key.clone(), value);
                    }
                }
                Ok(Some(Value::Object(evaluated)))
            }
            Value::Array(items) => {
                let items: Result<Vec<_>, _> = items.iter().map(|item| self.evaluate(item)).collect();
                Ok(Some(Value::Array(items?.into_iter().flatten().collect())))
            }
            scalar => Ok(Some(scalar.clone())),
        }
    }

    /// Returns whether a resource or output exists: it has no `Condition`, or the condition is true.
    pub(crate) fn exists(&self, definition: &Value) -> Result<bool, String> {
        match definition.get("Condition") {
            Some(Value::String(name)) => self.condition(name),
            _ => Ok(true),
        }
    }

    fn call(&self, name: &str, argument: &Value) -> Result<Option<Value>, String> {
        match name {
            "Ref" => self.reference(text(argument, "Ref")?),
            "Fn::GetAtt" => {
                let path: Vec<&str> = items(argument, "!GetAtt")?.iter().filter_map(Value::as_str).collect();
                self.attribute(&path.join(".")).map(Some)
            }
            "Fn::Sub" => self.substitute(argument).map(Some),
            "Fn::If" => {
                let [condition, then, otherwise] = exactly(argument, "!If")?;
                let holds = self.condition(text(condition, "!If")?)?;
                self.evaluate(if holds { then } else { otherwise })
            }
            "Fn::Join" => {
                let [separator, list] = exactly(argument, "!Join")?;
                let list = self.strings(list, "!Join")?;
                Ok(Some(list.join(text(separator, "!Join")?).into()))
            }
            "Fn::Split" => {
                let [separator, source] = exactly(argument, "!Split")?;
                let source = self.string(source)?;
                Ok(Some(source.split(text(separator, "!Split")?).collect()))
            }
            "Fn::Select" => {
                let [index, list] = exactly(argument, "!Select")?;
                let index: usize =
                    self.string(index)?.parse().map_err(|_| "!Select: the index is not a number")?;
                let mut list = self.strings(list, "!Select")?;
                if index >= list.len() {
                    return Err(format!("!Select: index {index} is out of range for {} items", list.len()));
                }
                Ok(Some(list.swap_remove(index).into()))
            }
            "Fn::FindInMap" => self.find_in_map(argument).map(Some),
            other => Err(format!("{other} is not supported by the local stack")),
        }
    }

    fn reference(&self, name: &str) -> Result<Option<Value>, String> {
        if let Some(value) = self.runtime.get(name) {
            return Ok(Some(value.as_str().into()));
        }
        let pseudo = match name {
            "AWS::NoValue" => return Ok(None),
            "AWS::AccountId" => ACCOUNT_ID,
            "AWS::Region" => self.region,
            "AWS::Partition" => "aws",
            "AWS::StackName" => "local",
            "AWS::URLSuffix" => "amazonaws.com",
            _ => "",
        };
        if !pseudo.is_empty() {
            return Ok(Some(pseudo.into()));
        }
        if let Some(parameter) = self.document.pointer(&format!("/Parameters/{name}")) {
            let is_list = parameter["Type"].as_str() == Some("CommaDelimitedList");
            return match parameter.get("Default") {
                Some(Value::String(text)) if is_list => Ok(Some(text.split(',').map(str::trim).collect())),
                Some(value) => Ok(Some(value.clone())),
                None => Err(format!("the parameter {name} has no Default and no local value")),
            };
        }
        match self.document.pointer(&format!("/Resources/{name}")) {
            Some(_) => Ok(Some(name.into())),
            None => Err(format!("!Ref {name}: no such parameter or resource")),
        }
    }

    fn attribute(&self, path: &str) -> Result<Value, String> {
        if let Some(value) = self.runtime.get(path) {
            return Ok(value.as_str().into());
        }
        let (id, attribute) = path.split_once('.').unwrap_or((path, ""));
        if self.document.pointer(&format!("/Resources/{id}")).is_none() {
            return Err(format!("!GetAtt {path}: no such resource {id}"));
        }
        match attribute {
            "Arn" => Ok(format!("arn:aws:local:{}:{ACCOUNT_ID}:{id}", self.region).into()),
            _ => Err(format!("!GetAtt {path}: attribute not supported by the local stack")),
        }
    }

    fn substitute(&self, argument: &Value) -> Result<Value, String> {
        let (pattern, variables) = match argument {
            Value::String(pattern) => (pattern.as_str(), None),
            list => {
                let [pattern, variables] = exactly(list, "!Sub")?;
                (text(pattern, "!Sub")?, Some(variables))
            }
        };
        let mut output = String::new();
        let mut rest = pattern;
        while let Some((before, after)) = rest.split_once("${") {
            let (name, tail) =
                after.split_once('}').ok_or_else(|| format!("!Sub: `${{` is not closed in {pattern:?}"))?;
            output.push_str(before);
            rest = tail;
            if let Some(literal) = name.strip_prefix('!') {
                output.push_str(&format!("${{{literal}}}"));
                continue;
            }
            let value = match variables.and_then(|variables| variables.get(name)) {
                Some(variable) => self.evaluate(variable)?,
                None if name.contains('.') => Some(self.attribute(name)?),
                None => self.reference(name)?,
            };
            output.push_str(&scalar(&value.unwrap_or_default())?);
        }
        output.push_str(rest);
        Ok(output.into())
    }

    fn find_in_map(&self, argument: &Value) -> Result<Value, String> {
        let [map, first, second] = exactly(argument, "!FindInMap")?;
        let (map, first, second) = (self.string(map)?, self.string(first)?, self.string(second)?);
        let found = self.document.pointer(&format!("/Mappings/{map}/{first}/{second}"));
        found.cloned().ok_or_else(|| format!("!FindInMap: {map}.{first}.{second} does not exist"))
    }

    fn condition(&self, name: &str) -> Result<bool, String> {
        let definition = self.document.pointer(&format!("/Conditions/{name}"));
        let definition = definition.ok_or_else(|| format!("no such condition {name}"))?;
        self.holds(definition).map_err(|reason| format!("condition {name}: {reason}"))
    }

    fn holds(&self, definition: &Value) -> Result<bool, String> {
        let entry = definition.as_object().and_then(single_entry);
        let (name, argument) = entry.ok_or("not a condition function")?;
        let each =
            || items(argument, name)?.iter().map(|item| self.holds(item)).collect::<Result<Vec<_>, _>>();
        match name {
            "Condition" => self.condition(text(argument, name)?),
            "Fn::Equals" => {
                let [left, right] = exactly(argument, name)?;
                Ok(self.string(left)? == self.string(right)?)
            }
            "Fn::Not" => Ok(!each()?.into_iter().any(|holds| holds)),
            "Fn::And" => Ok(each()?.into_iter().all(|holds| holds)),
            "Fn::Or" => Ok(each()?.into_iter().any(|holds| holds)),
            other => Err(format!("{other} is not a condition function")),
        }
    }

    fn string(&self, value: &Value) -> Result<String, String> {
        scalar(&self.evaluate(value)?.unwrap_or_default())
    }

    fn strings(&self, value: &Value, function: &str) -> Result<Vec<String>, String> {
        let value = self.evaluate(value)?.unwrap_or_default();
        items(&value, function)?.iter().map(scalar).collect()
    }
}

/// Formats a scalar as CloudFormation does.
pub(crate) fn scalar(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Bool(_) | Value::Number(_) => Ok(value.to_string()),
        Value::Null => Ok(String::new()),
        Value::Array(_) | Value::Object(_) => Err("expected a string, not a list or map".to_owned()),
    }
}

pub(super) fn single_entry(object: &Map<String, Value>) -> Option<(&str, &Value)> {
    let mut entries = object.iter();
    let (name, argument) = entries.next()?;
    entries.next().is_none().then_some((name.as_str(), argument))
}

fn text<'v>(value: &'v Value, function: &str) -> Result<&'v str, String> {
    value.as_str().ok_or_else(|| format!("{function} needs a string"))
}

fn items<'v>(value: &'v Value, function: &str) -> Result<&'v [Value], String> {
    value.as_array().map(Vec::as_slice).ok_or_else(|| format!("{function} needs a list"))
}

fn exactly<'v, const N: usize>(value: &'v Value, function: &str) -> Result<&'v [Value; N], String> {
    items(value, function)?.try_into().map_err(|_| format!("{function} needs a list of {N} items"))
}
