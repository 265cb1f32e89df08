//! From the evaluated document to [`Template`].

use std::collections::BTreeMap;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::properties::{
    Event, FUNCTION_KEYS, FunctionProperties, HTTP_API_KEYS, HttpApiProperties, KNOWN_FUNCTION_KEYS,
    LambdaAuthorizer, MappingProperties, QueueProperties,
};
use super::triggers;
use super::{
    ACCOUNT_ID, AuthorizerSpec, FunctionSpec, FunctionUrlSpec, QueueSpec, Resolver, Template, TemplateError,
    references,
};

/// Lambda's default `Timeout`, in seconds.
const DEFAULT_TIMEOUT_SECONDS: u64 = 3;
/// Lambda's default `MemorySize`.
const DEFAULT_MEMORY_MB: u32 = 128;
/// Lambda's default `MaximumRetryAttempts` of asynchronous invocations.
const DEFAULT_ASYNC_RETRIES: u32 = 2;
/// Lambda's default `MaximumEventAgeInSeconds` of asynchronous invocations: six hours.
const DEFAULT_ASYNC_AGE_SECONDS: u64 = 21_600;
/// Begins a function URL while outputs are read, so that its path can be told from any other text.
const FUNCTION_URL_MARK: &str = "function-url://";

/// Resource types that would run, but that the local stack reads only in their SAM form.
const UNSUPPORTED: [&str; 6] = [
    "AWS::Lambda::Function",
    "AWS::Lambda::Url",
    "AWS::Scheduler::Schedule",
    "AWS::Events::Rule",
    "AWS::ApiGatewayV2::Route",
    "AWS::Serverless::Api",
];

/// One function with its triggers, which are not part of [`FunctionSpec`].
struct Declared {
    spec: FunctionSpec,
    events: BTreeMap<String, Event>,
    has_url: bool,
}

pub(super) fn template(document: Value, region: &str) -> Result<Template, TemplateError> {
    let empty = BTreeMap::new();
    let plain = Resolver::new(&document, region, &empty);
    let mut names = Vec::new();
    for (id, resource) in resources(&document, &plain)? {
        match resource_type(id, resource)? {
            "AWS::Serverless::Function" => names.push((id, function_name(id, resource, &document)?, true)),
            "AWS::SQS::Queue" => names.push((id, queue_name(id, resource, &plain)?, false)),
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
    let api = http_api(&document, &resolver, &mut template)?;
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
    template.function_urls = function_urls(&document, &resolver, &declared)?;
    references::check(&document)?;
    template.document = document;
    Ok(template)
}

/// `!Ref` and `!GetAtt` of functions and queues, as far as they can be known without a running stack.
pub(super) fn static_names<'a>(
    region: &str,
    functions: impl Iterator<Item = (&'a String, &'a String)>,
    queues: impl Iterator<Item = (&'a String, &'a String)>,
) -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    for (id, name) in functions {
        names.insert(id.clone(), name.clone());
        names.insert(format!("{id}.Arn"), format!("arn:aws:lambda:{region}:{ACCOUNT_ID}:function:{name}"));
        names.insert(format!("{id}Url.FunctionUrl"), format!("{FUNCTION_URL_MARK}{name}/"));
    }
    for (id, name) in queues {
        names.insert(format!("{id}.Arn"), format!("arn:aws:sqs:{region}:{ACCOUNT_ID}:{name}"));
        names.insert(format!("{id}.QueueName"), name.clone());
    }
    names
}

fn resources<'d>(
    document: &'d Value,
    resolver: &Resolver<'_>,
) -> Result<Vec<(&'d String, &'d Value)>, TemplateError> {
    let all = document.get("Resources").and_then(Value::as_object);
    let all = all.ok_or_else(|| TemplateError::new("Resources", "the template has none"))?;
    let mut existing = Vec::new();
    for (id, resource) in all {
        let exists = resolver.exists(resource);
        if exists.map_err(|reason| TemplateError::new(format!("{id}.Condition"), reason))? {
            existing.push((id, resource));
        }
    }
    Ok(existing)
}

fn resource_type<'d>(id: &str, resource: &'d Value) -> Result<&'d str, TemplateError> {
    let kind = resource.get("Type").and_then(Value::as_str);
    kind.ok_or_else(|| TemplateError::new(format!("{id}.Type"), "it is missing"))
}

fn function_name(id: &str, resource: &Value, document: &Value) -> Result<String, TemplateError> {
    let at = || format!("{id}.Properties.CodeUri");
    let own = resource.pointer("/Properties/CodeUri");
    let code_uri = own.or_else(|| document.pointer("/Globals/Function/CodeUri")).and_then(Value::as_str);
    let code_uri = code_uri.ok_or_else(|| TemplateError::new(at(), "it must name the function's folder"))?;
    let folder = code_uri.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    if folder.is_empty() || folder == "." {
        return Err(TemplateError::new(at(), format!("{code_uri} names no folder")));
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
        Some(_) => Err(TemplateError::new(at(), "it must be a string")),
    }
}

/// Evaluates `keys` of a resource's properties over the globals of its kind, and reads them.
fn properties<T: DeserializeOwned>(
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

/// SAM's merge of `Globals`: maps are merged, anything else is replaced by the resource's own.
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

/// The name in a queue's ARN.
pub(super) fn queue_of(arn: &str, at: String) -> Result<String, TemplateError> {
    let name = arn.starts_with("arn:aws:sqs:").then(|| arn.rsplit(':').next()).flatten();
    name.map(str::to_owned).ok_or_else(|| TemplateError::new(at, format!("{arn} is not a queue's ARN")))
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
    runs_here(id, &read, own)?;
    if let Some(url) = &read.function_url_config
        && url.auth_type != "NONE"
    {
        let at = format!("{id}.Properties.FunctionUrlConfig.AuthType");
        return Err(TemplateError::new(at, "the local stack supports NONE only"));
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
    Ok(Declared { spec, events: read.events, has_url: read.function_url_config.is_some() })
}

/// Whether Lambda would start the binary: what SAM builds for these functions is a `bootstrap` on a bare runtime.
fn runs_here(id: &str, read: &FunctionProperties, own: Option<&Value>) -> Result<(), TemplateError> {
    let wrong = |property: &str, reason: String| {
        Err(TemplateError::new(format!("{id}.Properties.{property}"), reason))
    };
    if let Some(runtime) = read.runtime.as_ref().filter(|runtime| !runtime.starts_with("provided.")) {
        return wrong(
            "Runtime",
            format!("{runtime} starts no binary of this project: it needs provided.al2023"),
        );
    }
    if let Some(handler) = read.handler.as_ref().filter(|handler| *handler != "bootstrap") {
        return wrong("Handler", format!("{handler} is not what is built: it must be bootstrap"));
    }
    let names = own.and_then(Value::as_object).into_iter().flat_map(Map::keys);
    match names.into_iter().find(|name| !KNOWN_FUNCTION_KEYS.contains(&name.as_str())) {
        Some(unknown) => wrong(unknown, "SAM knows no such property of a function".to_owned()),
        None => Ok(()),
    }
}

/// The API's settings, and its authorizers into `template`.
fn http_api(
    document: &Value,
    resolver: &Resolver<'_>,
    template: &mut Template,
) -> Result<HttpApiProperties, TemplateError> {
    let globals = document.pointer("/Globals/HttpApi");
    let mut apis = Vec::new();
    for (id, resource) in resources(document, resolver)? {
        if resource_type(id, resource)? == "AWS::Serverless::HttpApi" {
            apis.push((id.as_str(), resource.get("Properties")));
        }
    }
    let (id, own) = match apis.as_slice() {
        [] => ("ServerlessHttpApi", None),
        [api] => *api,
        [_, (second, _), ..] => {
            return Err(TemplateError::new(*second, "the local stack serves one HTTP API only"));
        }
    };
    let read: HttpApiProperties = properties(id, globals, own, Some(&HTTP_API_KEYS), resolver)?;
    for (name, authorizer) in read.auth.iter().flat_map(|auth| &auth.authorizers) {
        let at = format!("{id}.Properties.Auth.Authorizers.{name}");
        template.authorizers.insert(name.clone(), authorizer_spec(authorizer, template, &at)?);
    }
    Ok(read)
}

fn authorizer_spec(
    authorizer: &LambdaAuthorizer,
    template: &Template,
    at: &str,
) -> Result<AuthorizerSpec, TemplateError> {
    let version = super::scalar(&authorizer.authorizer_payload_format_version).unwrap_or_default();
    if !version.starts_with('2') || !authorizer.enable_simple_responses {
        let reason = "the local stack supports payload format 2.0 with EnableSimpleResponses only";
        return Err(TemplateError::new(at, reason));
    }
    let function = authorizer.function_arn.rsplit(':').next().unwrap_or_default();
    if template.function(function).is_none() {
        let reason = format!("{} is no function of this template", authorizer.function_arn);
        return Err(TemplateError::new(format!("{at}.FunctionArn"), reason));
    }
    let identity = authorizer.identity.as_ref();
    Ok(AuthorizerSpec {
        function: function.to_owned(),
        headers: identity.map(|identity| identity.headers.clone()).unwrap_or_default(),
        query: identity.map(|identity| identity.query_strings.clone()).unwrap_or_default(),
        ttl: Duration::from_secs(identity.and_then(|identity| identity.reauthorize_every).unwrap_or(0)),
    })
}

/// Finds each function URL's public path in the outputs.
fn function_urls(
    document: &Value,
    resolver: &Resolver<'_>,
    declared: &[Declared],
) -> Result<Vec<FunctionUrlSpec>, TemplateError> {
    let mut found = Vec::new();
    for (name, output) in document.get("Outputs").and_then(Value::as_object).into_iter().flatten() {
        let Some(value) = output.get("Value").filter(|value| value.to_string().contains("FunctionUrl"))
        else {
            continue;
        };
        let at = |reason| TemplateError::new(format!("Outputs.{name}.Value"), reason);
        if !resolver.exists(output).map_err(at)? {
            continue;
        }
        let value = resolver.evaluate(value).map_err(at)?;
        let url = value.as_ref().and_then(Value::as_str).and_then(|url| url.strip_prefix(FUNCTION_URL_MARK));
        // What follows a `#` is for Twilio's console. An output without a path is a base, or a list of bases.
        let url = url.and_then(|url| url.split('#').next()).filter(|url| !url.contains(FUNCTION_URL_MARK));
        if let Some((function, path)) = url.and_then(|url| url.split_once('/'))
            && !path.is_empty()
        {
            found.push(FunctionUrlSpec { path: format!("/{path}"), function: function.to_owned() });
        }
    }
    for Declared { spec, has_url, .. } in declared {
        if *has_url && !found.iter().any(|url| url.function == spec.name) {
            let at = format!("{}.Properties.FunctionUrlConfig", spec.logical_id);
            let reason = format!(
                "no output gives its public path as !Sub \"${{{}Url.FunctionUrl}}path\"",
                spec.logical_id
            );
            return Err(TemplateError::new(at, reason));
        }
    }
    Ok(found)
}
