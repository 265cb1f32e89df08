//! Parses `template.yaml`, so that the local stack runs the same configuration as a deployment.
//!
//! Parsing follows the order of AWS: YAML, then conditions and intrinsic functions, then each resource's properties.
//! Functions are identified by their folder's name, queues by their `QueueName` or logical ID.

mod http_api;
mod intrinsics;
mod properties;
mod read;
mod references;
mod triggers;
mod yaml;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

pub use self::intrinsics::ACCOUNT_ID;
use self::intrinsics::{Resolver, scalar};

/// An error in a template, with its location.
#[derive(Debug, thiserror::Error)]
#[error("{at}: {reason}")]
pub struct TemplateError {
    at: String,
    reason: String,
}

impl TemplateError {
    fn new(at: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { at: at.into(), reason: reason.into() }
    }
}

/// The parts of a template that the local stack runs.
#[derive(Debug)]
pub struct Template {
    document: Value,
    region: String,
    /// The Lambda functions.
    pub functions: Vec<FunctionSpec>,
    /// The SQS queues, including dead-letter queues.
    pub queues: Vec<QueueSpec>,
    /// The logical IDs of the S3 buckets.
    pub buckets: Vec<String>,
    /// The HTTP API's routes.
    pub routes: Vec<RouteSpec>,
    /// The HTTP API's authorizers, by name.
    pub authorizers: BTreeMap<String, AuthorizerSpec>,
    /// The public paths of function URLs.
    pub function_urls: Vec<FunctionUrlSpec>,
    /// The event source mappings.
    pub mappings: Vec<MappingSpec>,
    /// The schedules.
    pub schedules: Vec<ScheduleSpec>,
}

/// One Lambda function.
#[derive(Debug, Clone)]
pub struct FunctionSpec {
    /// The resource's name in the template.
    pub logical_id: String,
    /// The folder's name, which identifies the function.
    pub name: String,
    /// The source folder, relative to the template.
    pub code_uri: String,
    /// The file name of the binary.
    pub binary: String,
    /// The timeout of an invocation.
    pub timeout: Duration,
    /// The memory on Lambda. The function can read it, but the local stack does not enforce it.
    pub memory_mb: u32,
    /// `ReservedConcurrentExecutions`; further concurrent invocations are throttled.
    pub reserved_concurrency: Option<usize>,
    /// The number of retries of a failed asynchronous invocation.
    pub async_retries: u32,
    /// The maximum age of an asynchronous invocation before retries stop.
    pub async_max_age: Duration,
    /// `Environment.Variables`, not yet evaluated.
    environment: BTreeMap<String, Value>,
}

/// One SQS queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueSpec {
    /// The resource's name in the template.
    pub logical_id: String,
    /// The queue's name.
    pub name: String,
    /// The SQS attributes that the template sets, except `RedrivePolicy`.
    pub attributes: BTreeMap<String, String>,
    /// The dead-letter queue's name and the maximum receive count.
    pub redrive: Option<(String, u32)>,
}

/// One route of the HTTP API.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteSpec {
    /// The HTTP method, or `ANY`.
    pub method: String,
    /// The path, such as `/conversations/{phone_number}`, or `$default`.
    pub path: String,
    /// The function's name.
    pub function: String,
    /// The authorizer's name, or `None` if the route is public.
    pub authorizer: Option<String>,
    /// The integration timeout.
    pub timeout: Duration,
    /// The throttling settings, if any.
    pub throttle: Option<Throttle>,
}

/// Settings of a token bucket.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Throttle {
    /// Requests per second.
    pub rate: f64,
    /// Maximum burst of requests.
    pub burst: f64,
}

/// One Lambda authorizer with simple responses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorizerSpec {
    /// The function's name.
    pub function: String,
    /// The identity headers: required in each request, and used as the cache key.
    pub headers: Vec<String>,
    /// The identity query parameters, used in the same way.
    pub query: Vec<String>,
    /// How long responses are cached; zero disables the cache.
    pub ttl: Duration,
}

/// The public path of one function URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionUrlSpec {
    /// The path, taken from the template's outputs.
    pub path: String,
    /// The function's name.
    pub function: String,
    /// `InvokeMode: RESPONSE_STREAM`: callers get the response while the function writes it.
    pub streams: bool,
}

/// One event source mapping from a queue to a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappingSpec {
    /// The queue's name.
    pub queue: String,
    /// The function's name.
    pub function: String,
    /// The maximum number of records per event.
    pub batch_size: usize,
    /// The batching window.
    pub window: Duration,
    /// The maximum number of concurrent invocations.
    pub concurrency: Option<usize>,
    /// `ReportBatchItemFailures`: the function's response lists the failed records.
    pub reports_failures: bool,
}

/// One schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleSpec {
    /// The schedule's name.
    pub name: String,
    /// The function's name.
    pub function: String,
    /// `rate(…)` or `cron(…)`.
    pub expression: String,
    /// The IANA time zone of a cron expression.
    pub timezone: String,
    /// The event's payload, if the template sets one.
    pub input: Option<String>,
    /// True for an EventBridge rule (`Schedule`), false for EventBridge Scheduler (`ScheduleV2`). Their events differ.
    pub is_rule: bool,
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    ///
    /// The first error that AWS or the local stack would report, with the logical ID and property.
    pub fn parse(text: &str, region: &str) -> Result<Self, TemplateError> {
        read::template(yaml::load(text)?, region)
    }

    /// Returns the region in the template's ARNs.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Finds a function by name or logical ID.
    #[must_use]
    pub fn function(&self, name: &str) -> Option<&FunctionSpec> {
        self.functions.iter().find(|function| function.name == name || function.logical_id == name)
    }

    /// Returns a function's environment variables: from `overrides`, else `defaults`, else the template's value.
    ///
    /// As on Lambda, only variables that the template declares for the function are set. `runtime` provides the values
    /// of `!Ref` and `!GetAtt` that are known only at run time, such as queue URLs.
    ///
    /// # Errors
    ///
    /// If a value cannot be evaluated, or is a secret without a local value.
    pub fn environment(
        &self,
        function: &FunctionSpec,
        overrides: impl Fn(&str) -> Option<String>,
        defaults: &BTreeMap<String, String>,
        runtime: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>, TemplateError> {
        let mut names = self.static_names();
        names.extend(runtime.clone());
        let resolver = Resolver::new(&self.document, &self.region, &names);
        let mut variables = BTreeMap::new();
        for (name, value) in &function.environment {
            if let Some(value) = overrides(name).or_else(|| defaults.get(name).cloned()) {
                variables.insert(name.clone(), value);
                continue;
            }
            let at = || format!("{}.Properties.Environment.Variables.{name}", function.logical_id);
            let evaluated = resolver.evaluate(value).map_err(|reason| TemplateError::new(at(), reason))?;
            let Some(evaluated) = evaluated else { continue };
            let text = scalar(&evaluated).map_err(|reason| TemplateError::new(at(), reason))?;
            if text.contains("{{resolve:") {
                let reason = format!("{text} cannot be read locally: set {name} in the environment");
                return Err(TemplateError::new(at(), reason));
            }
            variables.insert(name.clone(), text);
        }
        Ok(variables)
    }

    /// Returns the `!Ref` and `!GetAtt` values of functions and queues that are known before the stack runs.
    fn static_names(&self) -> BTreeMap<String, String> {
        let functions = self.functions.iter().map(|function| (&function.logical_id, &function.name));
        let queues = self.queues.iter().map(|queue| (&queue.logical_id, &queue.name));
        read::static_names(&self.region, functions, queues)
    }
}

#[cfg(test)]
mod tests;
