//! The properties of SAM and CloudFormation resources that the local stack uses.
//!
//! Unknown properties are rejected, as AWS rejects misspelt ones.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct FunctionProperties {
    #[serde(default)]
    pub code_uri: String,
    pub handler: Option<String>,
    pub runtime: Option<String>,
    pub timeout: Option<u64>,
    pub memory_size: Option<u32>,
    pub reserved_concurrent_executions: Option<usize>,
    #[serde(default)]
    pub events: BTreeMap<String, Event>,
    pub function_url_config: Option<FunctionUrlConfig>,
    pub event_invoke_config: Option<EventInvokeConfig>,
}

/// The properties of [`FunctionProperties`]. The others, such as `Policies`, are not evaluated.
pub(super) const FUNCTION_KEYS: [&str; 9] = [
    "CodeUri",
    "Handler",
    "Runtime",
    "Timeout",
    "MemorySize",
    "ReservedConcurrentExecutions",
    "Events",
    "FunctionUrlConfig",
    "EventInvokeConfig",
];

/// All properties of `AWS::Serverless::Function` as of 2026-11-24:
/// <https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/sam-resource-function.html>.
pub(super) const KNOWN_FUNCTION_KEYS: [&str; 49] = [
    "Architectures",
    "AssumeRolePolicyDocument",
    "AutoPublishAlias",
    "AutoPublishAliasAllProperties",
    "AutoPublishCodeSha256",
    "CapacityProviderConfig",
    "CodeSigningConfigArn",
    "CodeUri",
    "DeadLetterQueue",
    "DeploymentPreference",
    "Description",
    "DurableConfig",
    "Environment",
    "EphemeralStorage",
    "EventInvokeConfig",
    "Events",
    "FileSystemConfigs",
    "FunctionName",
    "FunctionScalingConfig",
    "FunctionUrlConfig",
    "Handler",
    "ImageConfig",
    "ImageUri",
    "InlineCode",
    "KmsKeyArn",
    "Layers",
    "LoggingConfig",
    "MemorySize",
    "PackageType",
    "PermissionsBoundary",
    "Policies",
    "PropagateTags",
    "ProvisionedConcurrencyConfig",
    "PublishToLatestPublished",
    "RecursiveLoop",
    "ReservedConcurrentExecutions",
    "Role",
    "RolePath",
    "Runtime",
    "RuntimeManagementConfig",
    "SnapStart",
    "SourceKMSKeyArn",
    "Tags",
    "TenancyConfig",
    "Timeout",
    "Tracing",
    "VersionDeletionPolicy",
    "VersionDescription",
    "VpcConfig",
];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct FunctionUrlConfig {
    pub auth_type: String,
    #[serde(default)]
    pub invoke_mode: InvokeMode,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum InvokeMode {
    #[default]
    Buffered,
    ResponseStream,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct EventInvokeConfig {
    pub maximum_retry_attempts: Option<u32>,
    pub maximum_event_age_in_seconds: Option<u64>,
}

#[derive(Deserialize)]
#[serde(tag = "Type", content = "Properties")]
pub(super) enum Event {
    HttpApi(HttpApiEvent),
    #[serde(rename = "SQS")]
    Sqs(IgnoredAny),
    Schedule(ScheduleEvent),
    ScheduleV2(ScheduleEvent),
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct HttpApiEvent {
    #[serde(default = "default_route")]
    pub path: String,
    #[serde(default = "any_method")]
    pub method: String,
    #[serde(rename = "ApiId")]
    pub _api_id: Option<IgnoredAny>,
    pub auth: Option<RouteAuth>,
    pub timeout_in_millis: Option<u64>,
    pub payload_format_version: Option<String>,
    pub route_settings: Option<RouteSettings>,
}

fn default_route() -> String {
    "$default".to_owned()
}

fn any_method() -> String {
    "ANY".to_owned()
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct RouteAuth {
    pub authorizer: Option<String>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct RouteSettings {
    pub throttling_burst_limit: Option<u32>,
    pub throttling_rate_limit: Option<f64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct MappingProperties {
    pub event_source_arn: String,
    pub function_name: String,
    #[serde(default = "default_batch_size")]
    pub batch_size: usize,
    #[serde(default)]
    pub maximum_batching_window_in_seconds: u64,
    #[serde(default)]
    pub function_response_types: Vec<String>,
    pub scaling_config: Option<ScalingConfig>,
    #[serde(default = "enabled")]
    pub enabled: bool,
    #[serde(rename = "FilterCriteria")]
    pub filter_criteria: Option<IgnoredAny>,
    #[serde(rename = "MetricsConfig")]
    pub _metrics_config: Option<IgnoredAny>,
}

/// AWS's default batch size for SQS.
fn default_batch_size() -> usize {
    10
}

fn enabled() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct ScalingConfig {
    pub maximum_concurrency: usize,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ScheduleEvent {
    #[serde(alias = "Schedule")]
    pub schedule_expression: String,
    pub schedule_expression_timezone: Option<String>,
    pub name: Option<String>,
    pub input: Option<String>,
    pub state: Option<String>,
    pub enabled: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct QueueProperties {
    pub visibility_timeout: Option<u32>,
    pub message_retention_period: Option<u32>,
    pub delay_seconds: Option<u32>,
    pub receive_message_wait_time_seconds: Option<u32>,
    pub maximum_message_size: Option<u32>,
    pub redrive_policy: Option<RedrivePolicy>,
    #[serde(rename = "QueueName")]
    pub _queue_name: Option<IgnoredAny>,
    #[serde(rename = "KmsMasterKeyId")]
    pub _kms_key: Option<IgnoredAny>,
    #[serde(rename = "KmsDataKeyReusePeriodSeconds")]
    pub _kms_period: Option<IgnoredAny>,
    #[serde(rename = "SqsManagedSseEnabled")]
    pub _sse: Option<IgnoredAny>,
    #[serde(rename = "RedriveAllowPolicy")]
    pub _redrive_allow_policy: Option<IgnoredAny>,
    #[serde(rename = "Tags")]
    pub _tags: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RedrivePolicy {
    #[serde(rename = "deadLetterTargetArn")]
    pub dead_letter_target_arn: String,
    #[serde(rename = "maxReceiveCount")]
    pub max_receive_count: u32,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct HttpApiProperties {
    pub auth: Option<ApiAuth>,
    pub default_route_settings: Option<RouteSettings>,
    #[serde(default)]
    pub route_settings: BTreeMap<String, RouteSettings>,
}

/// The properties of [`HttpApiProperties`].
pub(super) const HTTP_API_KEYS: [&str; 3] = ["Auth", "DefaultRouteSettings", "RouteSettings"];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ApiAuth {
    pub default_authorizer: Option<String>,
    #[serde(default)]
    pub authorizers: BTreeMap<String, LambdaAuthorizer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct LambdaAuthorizer {
    pub function_arn: String,
    pub authorizer_payload_format_version: Value,
    #[serde(default)]
    pub enable_simple_responses: bool,
    pub identity: Option<AuthorizerIdentity>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct AuthorizerIdentity {
    #[serde(default)]
    pub headers: Vec<String>,
    #[serde(default)]
    pub query_strings: Vec<String>,
    pub reauthorize_every: Option<u64>,
}
