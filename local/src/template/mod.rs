//! `template.yaml` as the stack needs it: what is missing or wrong there is missing or wrong locally.
//!
//! The template is read in the order AWS would: YAML, then conditions and functions, then each resource's
//! properties. Functions are known by their folder's name, queues by their `QueueName` or logical id.

mod intrinsics;
mod properties;
mod read;
mod references;
mod triggers;
mod yaml;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

pub(crate) use self::intrinsics::ACCOUNT_ID;
use self::intrinsics::{Resolver, scalar};

/// What is wrong with a template, and where.
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

/// Everything in a template that runs.
#[derive(Debug)]
pub struct Template {
    document: Value,
    region: String,
    /// The Lambda functions.
    pub functions: Vec<FunctionSpec>,
    /// The SQS queues, dead-letter queues among them.
    pub queues: Vec<QueueSpec>,
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
    /// The folder's name, by which the stack knows it.
    pub name: String,
    /// The folder that it is built from, below the template's.
    pub code_uri: String,
    /// The binary to run.
    pub binary: String,
    /// How long an invocation may take.
    pub timeout: Duration,
    /// The memory it would have on Lambda; told to the function, not enforced.
    pub memory_mb: u32,
    /// `ReservedConcurrentExecutions`: more invocations at once than that are throttled.
    pub reserved_concurrency: Option<usize>,
    /// How often an asynchronous invocation is tried again after an error.
    pub async_retries: u32,
    /// After how long an asynchronous invocation is given up.
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
    /// SQS's attributes that the template sets, by SQS's names, `RedrivePolicy` excepted.
    pub attributes: BTreeMap<String, String>,
    /// The dead-letter queue's name, and after how many receives a message goes there.
    pub redrive: Option<(String, u32)>,
}

/// One route of the HTTP API.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteSpec {
    /// `GET` and so on, or `ANY`.
    pub method: String,
    /// `/conversations/{phone_number}`, or `$default`.
    pub path: String,
    /// The function's name.
    pub function: String,
    /// The authorizer's name; open without.
    pub authorizer: Option<String>,
    /// How long the gateway waits for the function.
    pub timeout: Duration,
    /// Requests per second and burst, if the route is throttled.
    pub throttle: Option<Throttle>,
}

/// A token bucket's settings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Throttle {
    /// Requests per second.
    pub rate: f64,
    /// Requests at once.
    pub burst: f64,
}

/// One Lambda authorizer with simple responses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorizerSpec {
    /// The function's name.
    pub function: String,
    /// The headers without which a request is refused unasked, and by which answers are cached.
    pub headers: Vec<String>,
    /// The same for query parameters.
    pub query: Vec<String>,
    /// How long an answer is kept; zero means it is not.
    pub ttl: Duration,
}

/// The public path of one function URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionUrlSpec {
    /// The path that an output gives it.
    pub path: String,
    /// The function's name.
    pub function: String,
}

/// One event source mapping from a queue to a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappingSpec {
    /// The queue's name.
    pub queue: String,
    /// The function's name.
    pub function: String,
    /// The most records in one event.
    pub batch_size: usize,
    /// How long to gather a batch.
    pub window: Duration,
    /// The most invocations at once.
    pub concurrency: Option<usize>,
    /// `ReportBatchItemFailures`: the function's answer names the records that failed.
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
    /// The event, when the template gives one.
    pub input: Option<String>,
    /// An EventBridge rule (`Schedule`) instead of EventBridge Scheduler (`ScheduleV2`): the events differ.
    pub is_rule: bool,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    ///
    /// At the first thing that AWS or the local stack would not take, with its logical id and property.
    pub fn parse(text: &str, region: &str) -> Result<Self, TemplateError> {
        read::template(yaml::load(text)?, region)
    }

    /// The region that the template's ARNs name.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.region
    }

    /// The function of that name, or of that logical id.
    #[must_use]
    pub fn function(&self, name: &str) -> Option<&FunctionSpec> {
        self.functions.iter().find(|function| function.name == name || function.logical_id == name)
    }

    /// A function's variables: `overriding` first, then `embedded`, then the template's own value.
    ///
    /// Only names that the template declares for the function are set, as on Lambda. `runtime` answers `!Ref`
    /// and `!GetAtt` for what only the running stack knows, such as queue URLs.
    ///
    /// # Errors
    ///
    /// When a value cannot be evaluated, or is a secret that nothing local replaces.
    pub fn environment(
        &self,
        function: &FunctionSpec,
        overriding: impl Fn(&str) -> Option<String>,
        embedded: &BTreeMap<String, String>,
        runtime: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>, TemplateError> {
        let mut names = self.static_names();
        names.extend(runtime.clone());
        let resolver = Resolver::new(&self.document, &self.region, &names);
        let mut variables = BTreeMap::new();
        for (name, value) in &function.environment {
            if let Some(value) = overriding(name).or_else(|| embedded.get(name).cloned()) {
                variables.insert(name.clone(), value);
                continue;
            }
            let at = || format!("{}.Properties.Environment.Variables.{name}", function.logical_id);
            let evaluated = resolver.evaluate(value).map_err(|reason| TemplateError::new(at(), reason))?;
            let Some(evaluated) = evaluated else { continue };
            let text = scalar(&evaluated).map_err(|reason| TemplateError::new(at(), reason))?;
            if text.contains("{{resolve:") {
                let reason = format!("{text} is not readable locally: set {name} in the environment");
                return Err(TemplateError::new(at(), reason));
            }
            variables.insert(name.clone(), text);
        }
        Ok(variables)
    }

    /// `!Ref` and `!GetAtt` of functions and queues that need no running stack.
    fn static_names(&self) -> BTreeMap<String, String> {
        let functions = self.functions.iter().map(|function| (&function.logical_id, &function.name));
        let queues = self.queues.iter().map(|queue| (&queue.logical_id, &queue.name));
        read::static_names(&self.region, functions, queues)
    }
}

#[cfg(test)]
mod tests;
