//! Builds a [`Template`] from the YAML document.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::properties::{
    Event, FUNCTION_KEYS, FunctionProperties, InvokeMode, KNOWN_FUNCTION_KEYS, MappingProperties,
    QueueProperties,
};
use super::{
    ACCOUNT_ID, FunctionSpec, QueueSpec, Resolver, Template, TemplateError, http_api, references, triggers,
};

/// Lambda's default `Timeout`, in seconds.
const DEFAULT_TIMEOUT_SECONDS: u64 = 3;
/// Lambda's default `MemorySize`.
const DEFAULT_MEMORY_MB: u32 = 128;
/// Lambda's default `MaximumRetryAttempts` of asynchronous invocations.
const DEFAULT_ASYNC_RETRIES: u32 = 2;
/// Lambda's default `MaximumEventAgeInSeconds` of asynchronous invocations: six hours.
const DEFAULT_ASYNC_AGE_SECONDS: u64 = 21_600;
/// Placeholder prefix of function URLs while the outputs are read. Marks the values that contain a path.
pub(super) const FUNCTION_URL_MARK: &str = "function-url://";

/// Resource types that the local stack supports only in their SAM form.
const UNSUPPORTED: [&str; 6] = [
    "AWS::Lambda::Function",
    "AWS::Lambda::Url",
    "AWS::Scheduler::Schedule",
    "AWS::Events::Rule",
    "AWS::ApiGatewayV2::Route",
    "AWS::Serverless::Api",
];

/// A function with its triggers.
pub(super) struct Declared {
    pub spec: FunctionSpec,
    pub events: BTreeMap<String, Event>,
    /// How its function URL invokes it, if it has one.
    pub url: Option<InvokeMode>,
}

/// Builds the template.
///
/// # Errors
///
/// The first error in the document.
pub(super) fn template(document: Value, region: &str) -> Result<Template, TemplateError> {
    let empty = BTreeMap::new();
    let plain = Resolver::new(&document, region, &empty);
    let (mut names, mut buckets) = (Vec::new(), Vec::new());
    for (id, resource) in resources(&document, &plain)? {
        match resource_type(id, resource)? {
            "AWS::Serverless::Function" => names.push((id, function_name(id, resource, &document)?, true)),
            "AWS::SQS::Queue" => names.push((id, queue_name(id, resource, &plain)?, false)),
            "AWS::S3::Bucket" => buckets.push(id.clone()),
            unsupported if UNSUPPORTED.contains(&unsupported) => {
                let reason = format!("{unsupported} is not supported by the local stack: use SAM's form");
                return Err(TemplateError::new(format!("{id}.Type"), reason));
            }
            _ => {}
        }
    }
    let named = |functions: bool| {
        names
            .iter()
            .filter(move |(_, _, is_function)| *is_function == functions)
            .map(|(id, name, _)| (*id, name))
    };
    let static_names = static_names(region, named(true), named(false));
    let resolver = Resolver::new(&document, region, &static_names);
    let mut template = Template {
        document: Value::Null,
        region: region.to_owned(),
        functions: Vec::new(),
        queues: Vec::new(),
        buckets,
        routes: Vec::new(),
        authorizers: BTreeMap::new(),
        function_urls: Vec::new(),
        mappings: Vec::new(),
        schedules: Vec::new(),
    };
    for (id, name) in named(false) {
        template.queues.push(queue(id, name, &document, &resolver)?);
    }
    let mut declared = Vec::new();
    for (id, name) in named(true) {
        declared.push(function(id, name, &document, &resolver)?);
    }
    template.functions = declared.iter().map(|declared| declared.spec.clone()).collect();
    let api = http_api::read(&document, &resolver, &mut template)?;
    for declared in &declared {
        triggers::read(&declared.spec, &declared.events, &api, &mut template)?;
    }
    for (id, resource) in resources(&document, &resolver)? {
        if resource_type(id, resource)? == "AWS::Lambda::EventSourceMapping" {
            let read: MappingProperties = properties(id, None, resource.get("Properties"), None, &resolver)?;
            let mapping = triggers::mapping(&read, &template, &format!("{id}.Properties"))?;
            template.mappings.extend(mapping);
        }
    }
    template.function_urls = http_api::function_urls(&document, &resolver, &declared)?;
    references::check(&document)?;
    template.document = document;
    Ok(template)
}

/// Returns the `!Ref` and `!GetAtt` values of functions and queues that are known before the stack runs.
pub(super) fn static_names<'a>(
    region: &str,
    functions: impl Iterator<Item = (&'a String, &'a String)>,
    queues: impl Iterator<Item = (&'a String, &'a String)>,
) -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    for (id, name) in functions {
        names.insert(id.clone(), name.clone());
        names.insert(format!("{id}.Arn"), format!("arn:aws:lambda:{region}:{ACCOUNT_ID}:function:{name}"));
        // SAM's reference to the alias of `AutoPublishAlias`. All aliases are the same function here.
        let alias = format!("arn:aws:lambda:{region}:{ACCOUNT_ID}:function:{name}:live");
        names.insert(format!("{id}.Alias"), alias);
        names.insert(format!("{id}Url.FunctionUrl"), format!("{FUNCTION_URL_MARK}{name}/"));
    }
    for (id, name) in queues {
        names.insert(format!("{id}.Arn"), format!("arn:aws:sqs:{region}:{ACCOUNT_ID}:{name}"));
        names.insert(format!("{id}.QueueName"), name.clone());
    }
    names
}

pub(super) fn resources<'d>(
    document: &'d Value,
    resolver: &Resolver<'_>,
) -> Result<Vec<(&'d String, &'d Value)>, TemplateError> {
    let all = document.get("Resources").and_then(Value::as_object);
    let all = all.ok_or_else(|| TemplateError::new("Resources", "the template has no resources"))?;
    let mut existing = Vec::new();
    for (id, resource) in all {
        let exists = resolver.exists(resource);
        if exists.map_err(|reason| TemplateError::new(format!("{id}.Condition"), reason))? {
            existing.push((id, resource));
        }
    }
    Ok(existing)
}

pub(super) fn resource_type<'d>(id: &str, resource: &'d Value) -> Result<&'d str, TemplateError> {
    let kind = resource.get("Type").and_then(Value::as_str);
    kind.ok_or_else(|| TemplateError::new(format!("{id}.Type"), "missing"))
}

fn function_name(id: &str, resource: &Value, document: &Value) -> Result<String, TemplateError> {
    let at = || format!("{id}.Properties.CodeUri");
    let own = resource.pointer("/Properties/CodeUri");
    let code_uri = own.or_else(|| document.pointer("/Globals/Function/CodeUri")).and_then(Value::as_str);
    let code_uri = code_uri.ok_or_else(|| TemplateError::new(at(), "must be the function's folder"))?;
    let folder = code_uri.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    if folder.is_empty() || folder == "." {
        return Err(TemplateError::new(at(), format!("{code_uri} is not a folder")));
    }
    Ok(folder.to_owned())
}

fn queue_name(id: &str, resource: &Value, resolver: &Resolver<'_>) -> Result<String, TemplateError> {
    let Some(name) = resource.pointer("/Properties/QueueName") else { return Ok(id.to_owned()) };
    let at = || format!("{id}.Properties.QueueName");
    let name = resolver.evaluate(name).map_err(|reason| TemplateError::new(at(), reason))?;
    match name {
        None => Ok(id.to_owned()),
        Some(Value::String(name)) if name.ends_with(".fifo") => {
            Err(TemplateError::new(at(), "FIFO queues are not supported by the local stack"))
        }
        Some(Value::String(name)) => Ok(name),
        Some(_) => Err(TemplateError::new(at(), "must be a string")),
    }
}

/// Merges a resource's properties with the globals, evaluates those in `keys`, and deserializes them.
pub(super) fn properties<T: DeserializeOwned>(
    id: &str,
    globals: Option<&Value>,
    own: Option<&Value>,
    keys: Option<&[&str]>,
    resolver: &Resolver<'_>,
) -> Result<T, TemplateError> {
    let merged = merged(globals, own);
    let mut evaluated = Map::new();
    for (key, value) in merged {
        if keys.is_some_and(|keys| !keys.contains(&key.as_str())) {
            continue;
        }
        let at = || format!("{id}.Properties.{key}");
        let value = resolver.evaluate(&value).map_err(|reason| TemplateError::new(at(), reason))?;
        if let Some(value) = value {
            evaluated.insert(key, value);
        }
    }
    serde_path_to_error::deserialize(Value::Object(evaluated)).map_err(|error| {
        let path = error.path().to_string();
        let at = if path == "." { format!("{id}.Properties") } else { format!("{id}.Properties.{path}") };
        TemplateError::new(at, error.into_inner().to_string())
    })
}

/// Merges `Globals` as SAM does: maps are merged, other values are replaced by the resource's own.
fn merged(globals: Option<&Value>, own: Option<&Value>) -> Map<String, Value> {
    let mut merged = globals.and_then(Value::as_object).cloned().unwrap_or_default();
    for (key, value) in own.and_then(Value::as_object).into_iter().flatten() {
        let value = match merged.get(key) {
            Some(global @ Value::Object(_)) if value.is_object() => {
                Value::Object(self::merged(Some(global), Some(value)))
            }
            _ => value.clone(),
        };
        merged.insert(key.clone(), value);
    }
    merged
}

fn queue(
    id: &str,
    name: &str,
    document: &Value,
    resolver: &Resolver<'_>,
) -> Result<QueueSpec, TemplateError> {
    let own = document.pointer(&format!("/Resources/{id}/Properties"));
    let own = own.map_or_else(Map::new, |own| merged(None, Some(own)));
    let own =
        own.into_iter().filter(|(key, _)| !["QueueName", "Tags", "KmsMasterKeyId"].contains(&key.as_str()));
    let read: QueueProperties = properties(id, None, Some(&Value::Object(own.collect())), None, resolver)?;
    let attributes = [
        ("VisibilityTimeout", read.visibility_timeout),
        ("MessageRetentionPeriod", read.message_retention_period),
        ("DelaySeconds", read.delay_seconds),
        ("ReceiveMessageWaitTimeSeconds", read.receive_message_wait_time_seconds),
        ("MaximumMessageSize", read.maximum_message_size),
    ];
    let attributes =
        attributes.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.to_string())));
    let redrive = match read.redrive_policy {
        None => None,
        Some(policy) => {
            let at = format!("{id}.Properties.RedrivePolicy.deadLetterTargetArn");
            Some((queue_of(&policy.dead_letter_target_arn, at)?, policy.max_receive_count))
        }
    };
    Ok(QueueSpec {
        logical_id: id.to_owned(),
        name: name.to_owned(),
        attributes: attributes.collect(),
        redrive,
    })
}

/// Returns the function's name in the ARN of a function or an alias; other text is a name.
pub(super) fn function_of(text: &str) -> &str {
    match text.strip_prefix("arn:aws:lambda:") {
        Some(rest) => rest.split(':').nth(3).unwrap_or_default(),
        None => text,
    }
}

/// Returns the queue name in an ARN.
pub(super) fn queue_of(arn: &str, at: String) -> Result<String, TemplateError> {
    let name = arn.starts_with("arn:aws:sqs:").then(|| arn.rsplit(':').next()).flatten();
    name.map(str::to_owned).ok_or_else(|| TemplateError::new(at, format!("{arn} is not an SQS queue ARN")))
}

fn function(
    id: &str,
    name: &str,
    document: &Value,
    resolver: &Resolver<'_>,
) -> Result<Declared, TemplateError> {
    let globals = document.pointer("/Globals/Function");
    let own = document.pointer(&format!("/Resources/{id}/Properties"));
    let read: FunctionProperties = properties(id, globals, own, Some(&FUNCTION_KEYS), resolver)?;
    check_runtime(id, &read, own)?;
    if let Some(url) = &read.function_url_config
        && url.auth_type != "NONE"
    {
        let at = format!("{id}.Properties.FunctionUrlConfig.AuthType");
        return Err(TemplateError::new(at, "the local stack supports only NONE"));
    }
    let binary = document.pointer(&format!("/Resources/{id}/Metadata/BuildProperties/Binary"));
    let environment = merged(globals, own).get("Environment").and_then(|e| e.get("Variables")).cloned();
    let environment = environment.as_ref().and_then(Value::as_object).cloned().unwrap_or_default();
    let asynchronous = read.event_invoke_config.as_ref();
    let async_retries = asynchronous.and_then(|config| config.maximum_retry_attempts);
    let async_max_age = asynchronous.and_then(|config| config.maximum_event_age_in_seconds);
    let spec = FunctionSpec {
        logical_id: id.to_owned(),
        name: name.to_owned(),
        code_uri: read.code_uri,
        binary: binary.and_then(Value::as_str).unwrap_or(name).to_owned(),
        timeout: Duration::from_secs(read.timeout.unwrap_or(DEFAULT_TIMEOUT_SECONDS)),
        memory_mb: read.memory_size.unwrap_or(DEFAULT_MEMORY_MB),
        reserved_concurrency: read.reserved_concurrent_executions,
        async_retries: async_retries.unwrap_or(DEFAULT_ASYNC_RETRIES),
        async_max_age: Duration::from_secs(async_max_age.unwrap_or(DEFAULT_ASYNC_AGE_SECONDS)),
        environment: environment.into_iter().collect(),
    };
    Ok(Declared { spec, events: read.events, url: read.function_url_config.map(|url| url.invoke_mode) })
}

/// Checks that Lambda could start the binary: SAM builds a `bootstrap` for a custom runtime.
fn check_runtime(id: &str, read: &FunctionProperties, own: Option<&Value>) -> Result<(), TemplateError> {
    let error = |property: &str, reason: String| {
        Err(TemplateError::new(format!("{id}.Properties.{property}"), reason))
    };
    if let Some(runtime) = read.runtime.as_ref().filter(|runtime| !runtime.starts_with("provided.")) {
        return error("Runtime", format!("{runtime} cannot run a Rust binary: use provided.al2023"));
    }
    if let Some(handler) = read.handler.as_ref().filter(|handler| *handler != "bootstrap") {
        return error("Handler", format!("{handler} is not built: must be bootstrap"));
    }
    let names = own.and_then(Value::as_object).into_iter().flat_map(Map::keys);
    match names.into_iter().find(|name| !KNOWN_FUNCTION_KEYS.contains(&name.as_str())) {
        Some(unknown) => error(unknown, "no such property of a SAM function".to_owned()),
        None => Ok(()),
    }
}
