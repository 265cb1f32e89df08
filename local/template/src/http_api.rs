//! Reads the HTTP API, its authorizers, and the public paths of function URLs.

use std::time::Duration;

use serde_json::Value;

use super::properties::{HTTP_API_KEYS, HttpApiProperties, InvokeMode, LambdaAuthorizer};
use super::read::{Declared, FUNCTION_URL_MARK, function_of, properties, resource_type, resources};
use super::{AuthorizerSpec, FunctionUrlSpec, Resolver, Template, TemplateError};

/// Reads the API's settings, and adds its authorizers to `template`.
pub(super) fn read(
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
            return Err(TemplateError::new(*second, "the local stack supports only one HTTP API"));
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
        let reason = "the local stack supports only payload format 2.0 with EnableSimpleResponses";
        return Err(TemplateError::new(at, reason));
    }
    let function = function_of(&authorizer.function_arn);
    if template.function(function).is_none() {
        let reason = format!("no such function: {}", authorizer.function_arn);
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

/// Finds the public path of each function URL in the outputs.
pub(super) fn function_urls(
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
        // A fragment is only for Twilio's console. An output without a path is a base URL or a list of them.
        let url = url.and_then(|url| url.split('#').next()).filter(|url| !url.contains(FUNCTION_URL_MARK));
        if let Some((function, path)) = url.and_then(|url| url.split_once('/'))
            && !path.is_empty()
        {
            let mut modes = declared.iter().filter(|declared| declared.spec.name == function);
            let streams = modes.any(|declared| declared.url == Some(InvokeMode::ResponseStream));
            found.push(FunctionUrlSpec { path: format!("/{path}"), function: function.to_owned(), streams });
        }
    }
    for Declared { spec, url, .. } in declared {
        if url.is_some() && !found.iter().any(|url| url.function == spec.name) {
            let at = format!("{}.Properties.FunctionUrlConfig", spec.logical_id);
            let reason = format!(
                "no output contains its public path as !Sub \"${{{}Url.FunctionUrl}}path\"",
                spec.logical_id
            );
            return Err(TemplateError::new(at, reason));
        }
    }
    Ok(found)
}
