//! Reads the triggers of functions: routes, queues and schedules.

use std::collections::BTreeMap;
use std::time::Duration;

use super::properties::{
    Event, HttpApiEvent, HttpApiProperties, MappingProperties, RouteSettings, ScheduleEvent,
};
use super::read::{function_of, queue_of};
use super::{FunctionSpec, MappingSpec, RouteSpec, ScheduleSpec, Template, TemplateError, Throttle};

/// The maximum and default integration timeout of an HTTP API.
const MAX_INTEGRATION_TIMEOUT_MS: u64 = 30_000;

/// Reads a function's triggers into `template`.
pub(super) fn read(
    function: &FunctionSpec,
    events: &BTreeMap<String, Event>,
    api: &HttpApiProperties,
    template: &mut Template,
) -> Result<(), TemplateError> {
    for (event, trigger) in events {
        let at = format!("{}.Properties.Events.{event}.Properties", function.logical_id);
        match trigger {
            Event::HttpApi(http) => {
                let route = route(http, &function.name, api, template, &at)?;
                template.routes.push(route);
            }
            Event::Sqs(_) => {
                let reason = "SAM would grant the function's role access to every queue of the account: \
                              use AWS::Lambda::EventSourceMapping and SQSPollerPolicy";
                return Err(TemplateError::new(at, reason));
            }
            Event::Schedule(schedule) => {
                template.schedules.extend(scheduled(schedule, function, event, true));
            }
            Event::ScheduleV2(schedule) => {
                template.schedules.extend(scheduled(schedule, function, event, false));
            }
        }
    }
    Ok(())
}

fn route(
    event: &HttpApiEvent,
    function: &str,
    api: &HttpApiProperties,
    template: &Template,
    at: &str,
) -> Result<RouteSpec, TemplateError> {
    if event.payload_format_version.as_deref().is_some_and(|version| version != "2.0") {
        let reason = "the local stack supports only 2.0";
        return Err(TemplateError::new(format!("{at}.PayloadFormatVersion"), reason));
    }
    if event.path != "$default" && !event.path.starts_with('/') {
        return Err(TemplateError::new(format!("{at}.Path"), "must start with a slash"));
    }
    let own = event.auth.as_ref().and_then(|auth| auth.authorizer.clone());
    let default = api.auth.as_ref().and_then(|auth| auth.default_authorizer.clone());
    let authorizer = own.or(default).filter(|name| name != "NONE");
    if let Some(name) = authorizer.as_ref().filter(|name| !template.authorizers.contains_key(*name)) {
        let reason = format!("no such authorizer {name}");
        return Err(TemplateError::new(format!("{at}.Auth.Authorizer"), reason));
    }
    let timeout = event.timeout_in_millis.unwrap_or(MAX_INTEGRATION_TIMEOUT_MS);
    if !(50..=MAX_INTEGRATION_TIMEOUT_MS).contains(&timeout) {
        return Err(TemplateError::new(format!("{at}.TimeoutInMillis"), "must be between 50 and 30000"));
    }
    let method = event.method.to_uppercase().replace('*', "ANY");
    let settings =
        event.route_settings.or(api.route_settings.get(&format!("{method} {}", event.path)).copied());
    Ok(RouteSpec {
        throttle: settings.or(api.default_route_settings).and_then(throttle),
        method,
        path: event.path.clone(),
        function: function.to_owned(),
        authorizer,
        timeout: Duration::from_millis(timeout),
    })
}

fn throttle(settings: RouteSettings) -> Option<Throttle> {
    let rate = settings.throttling_rate_limit?;
    Some(Throttle { rate, burst: settings.throttling_burst_limit.map_or(rate, f64::from) })
}

/// Reads an event source mapping. Returns `None` if it is disabled.
pub(super) fn mapping(
    event: &MappingProperties,
    template: &Template,
    at: &str,
) -> Result<Option<MappingSpec>, TemplateError> {
    let queue = queue_of(&event.event_source_arn, format!("{at}.EventSourceArn"))?;
    if !template.queues.iter().any(|declared| declared.name == queue) {
        return Err(TemplateError::new(format!("{at}.EventSourceArn"), format!("no such queue: {queue}")));
    }
    let Some(function) = template.function(function_of(&event.function_name)) else {
        let reason = format!("no such function: {}", event.function_name);
        return Err(TemplateError::new(format!("{at}.FunctionName"), reason));
    };
    if !(1..=10_000).contains(&event.batch_size) {
        return Err(TemplateError::new(format!("{at}.BatchSize"), "must be between 1 and 10000"));
    }
    if event.batch_size > 10 && event.maximum_batching_window_in_seconds == 0 {
        let reason = "a value above 10 needs a MaximumBatchingWindowInSeconds of at least 1";
        return Err(TemplateError::new(format!("{at}.BatchSize"), reason));
    }
    if event.filter_criteria.is_some() {
        let reason = "not supported by the local stack";
        return Err(TemplateError::new(format!("{at}.FilterCriteria"), reason));
    }
    let concurrency = event.scaling_config.as_ref().map(|scaling| scaling.maximum_concurrency);
    if concurrency.is_some_and(|most| !(2..=1000).contains(&most)) {
        let at = format!("{at}.ScalingConfig.MaximumConcurrency");
        return Err(TemplateError::new(at, "must be between 2 and 1000"));
    }
    let mapping = MappingSpec {
        queue,
        function: function.name.clone(),
        batch_size: event.batch_size,
        window: Duration::from_secs(event.maximum_batching_window_in_seconds),
        concurrency,
        reports_failures: event.function_response_types.iter().any(|kind| kind == "ReportBatchItemFailures"),
    };
    Ok(event.enabled.then_some(mapping))
}

fn scheduled(
    event: &ScheduleEvent,
    function: &FunctionSpec,
    id: &str,
    is_rule: bool,
) -> Option<ScheduleSpec> {
    let enabled = event.enabled.unwrap_or(true) && event.state.as_deref() != Some("DISABLED");
    enabled.then(|| ScheduleSpec {
        name: event.name.clone().unwrap_or_else(|| format!("{}{id}", function.logical_id)),
        function: function.name.clone(),
        expression: event.schedule_expression.clone(),
        timezone: event.schedule_expression_timezone.clone().unwrap_or_else(|| "UTC".to_owned()),
        input: event.input.clone(),
        is_rule,
    })
}
