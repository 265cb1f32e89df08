use std::collections::BTreeMap;

use super::*;

mod deployment;
mod permissions;

const TEMPLATE: &str = include_str!("../../tests/it/template.yaml");

fn parsed() -> Template {
    Template::parse(TEMPLATE, "us-east-1").unwrap()
}

fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn urls() -> [FunctionUrlSpec; 2] {
    [("/hook", "echo", false), ("/stream", "stream", true)].map(|(path, function, streams)| FunctionUrlSpec {
        path: path.to_owned(),
        function: function.to_owned(),
        streams,
    })
}

#[test]
fn function_properties_override_globals_which_override_lambda_defaults() {
    let template = parsed();
    let echo = template.function("echo").unwrap();
    assert_eq!(echo.binary, "fixture");
    assert_eq!(echo.timeout, Duration::from_secs(60));
    assert_eq!(echo.memory_mb, 256);
    assert_eq!(echo.reserved_concurrency, None);
    let work = template.function("WorkFunction").unwrap();
    assert_eq!((work.name.as_str(), work.memory_mb, work.reserved_concurrency), ("work", 128, Some(2)));
}

#[test]
fn triggers_are_read_with_their_limits() {
    let template = parsed();
    let keys: Vec<_> =
        template.routes.iter().map(|route| (route.path.as_str(), route.authorizer.as_deref())).collect();
    let expected = [
        ("/action", None),
        ("/things/{id}", Some("Keys")),
        ("/open", None),
        ("/rest/{path+}", Some("Keys")),
        ("/throttled", None),
    ];
    assert_eq!(keys, expected);
    assert_eq!(template.routes[4].throttle, Some(Throttle { rate: 0.01, burst: 1.0 }));
    assert_eq!(template.routes[0].timeout, Duration::from_secs(30));
    let authorizer = AuthorizerSpec {
        function: "echo".to_owned(),
        headers: vec!["Authorization".to_owned()],
        query: vec![],
        ttl: Duration::from_secs(60),
    };
    assert_eq!(template.authorizers["Keys"], authorizer);
    assert_eq!(template.function_urls, urls());
    let mapping = MappingSpec {
        queue: "work".to_owned(),
        function: "work".to_owned(),
        batch_size: 5,
        window: Duration::ZERO,
        concurrency: Some(2),
        reports_failures: true,
    };
    assert_eq!(template.mappings, [mapping]);
    let queue = &template.queues.iter().find(|queue| queue.name == "work").unwrap();
    assert_eq!(queue.redrive, Some(("work-dead".to_owned(), 2)));
    assert_eq!(queue.attributes, map(&[("VisibilityTimeout", "5")]));
    let schedule = &template.schedules[0];
    assert_eq!((schedule.name.as_str(), schedule.expression.as_str()), ("EchoFunctionTick", "rate(1 hour)"));
}

#[test]
fn environment_overrides_take_precedence_over_defaults_and_template_values() {
    let template = parsed();
    let echo = template.function("echo").unwrap();
    let defaults = map(&[("DATABASE_SECRET_ARN", "default"), ("NOT_DECLARED", "x")]);
    let runtime = map(&[("Queue", "http://queue"), ("EchoFunctionUrl.FunctionUrl", "http://gateway/")]);
    let set = |name: &str| (name == "LOG_LEVEL").then(|| "debug".to_owned());
    let expected = map(&[
        ("LOG_LEVEL", "debug"),
        ("DATABASE_SECRET_ARN", "default"),
        ("BUCKET", "FilesBucket"),
        ("QUEUE_URL", "http://queue"),
        ("QUEUE_ARN", "arn:aws:sqs:us-east-1:000000000000:work"),
        ("CALLBACK", "http://gateway/hook"),
    ]);
    assert_eq!(template.environment(echo, set, &defaults, &runtime).unwrap(), expected);
    let set = |name: &str| (name == "PEER_API_URL").then(|| "http://peer".to_owned());
    let environment = template.environment(echo, set, &defaults, &runtime).unwrap();
    assert_eq!(
        environment["PEER_API_URL"], "http://peer",
        "an override applies even if the template's condition removes the variable"
    );
}

#[test]
fn a_secret_without_a_local_value_is_an_error() {
    let reference = "DATABASE_URL: \"{{resolve:secretsmanager:local/database:SecretString:url}}\"";
    let text = TEMPLATE.replace("DATABASE_SECRET_ARN: !Ref Secret", reference);
    let template = Template::parse(&text, "us-east-1").unwrap();
    let echo = template.function("echo").unwrap();
    let error =
        template.environment(echo, |_| None, &BTreeMap::new(), &BTreeMap::new()).unwrap_err().to_string();
    assert_eq!(
        error,
        "EchoFunction.Properties.Environment.Variables.DATABASE_URL: \
         {{resolve:secretsmanager:local/database:SecretString:url}} cannot be read locally: set DATABASE_URL in the \
         environment"
    );
}

/// Valid text of the template, its invalid replacement, and the location and reason of the error.
/// Without a location there is no error.
const INVALID: [(&str, &str, &str, &str); 29] = [
    ("FunctionName: !Ref WorkFunction", "FunctionName: !Ref WorkFunction.Alias", "", ""),
    ("FunctionArn: !GetAtt EchoFunction.Arn", "FunctionArn: !Ref EchoFunction.Alias", "", ""),
    ("BatchSize: 5", "BatchSize: five", "WorkMapping.Properties.BatchSize", "expected usize"),
    ("BatchSize: 5", "BatchSise: 5", "WorkMapping.Properties", "unknown field `BatchSise`"),
    ("BatchSize: 5", "BatchSize: 50", "WorkMapping.Properties.BatchSize", "Window"),
    ("MaximumConcurrency: 2", "MaximumConcurrency: 1", "MaximumConcurrency", "between 2 and 1000"),
    (
        "EventSourceArn: !GetAtt Queue.Arn",
        "EventSourceArn: !GetAtt Queu.Arn",
        "WorkMapping.Properties.EventSourceArn",
        "no such resource Queu",
    ),
    ("VisibilityTimeout: 5", "VisibilityTimout: 5", "Queue.Properties", "unknown field `VisibilityTimout`"),
    (
        "FunctionName: !Ref WorkFunction",
        "FunctionName: x",
        "WorkMapping.Properties.FunctionName",
        "no such function",
    ),
    (
        "      Events:\n",
        "      Events:\n        Work: {Type: SQS, Properties: {Queue: !GetAtt Queue.Arn}}\n",
        "EchoFunction.Properties.Events.Work",
        "every queue of the account",
    ),
    ("Path: /open", "Path: open", "EchoFunction.Properties.Events.Open.Properties.Path", "slash"),
    ("DefaultAuthorizer: Keys", "DefaultAuthorizer: Locks", "Auth.Authorizer", "no such authorizer Locks"),
    ("Type: ScheduleV2", "Type: Clock", "EchoFunction.Properties.Events.Tick", "unknown variant `Clock`"),
    (
        "HookUrl: {Value:",
        "HookUrl: {Condition: Missing, Value:",
        "Outputs.HookUrl",
        "no such condition Missing",
    ),
    (
        "RESPONSE_STREAM",
        "STREAM",
        "StreamFunction.Properties.FunctionUrlConfig.InvokeMode",
        "unknown variant `STREAM`",
    ),
    ("AuthType: NONE", "AuthType: AWS_IAM", "EchoFunction.Properties.FunctionUrlConfig.AuthType", "NONE"),
    ("CodeUri: functions/api/echo", "Handler: x", "EchoFunction.Properties.CodeUri", "folder"),
    ("EnableSimpleResponses: true", "EnableSimpleResponses: false", "Api.Properties.Auth", "EnableSimple"),
    (
        "deadLetterTargetArn: !GetAtt DeadLetters.Arn",
        "deadLetterTargetArn: x",
        "Queue.Properties.RedrivePolicy",
        "ARN",
    ),
    (
        "Resource: !GetAtt Queue.Arn",
        "Resource: !GetAtt Queues.Arn",
        "EchoFunction.Properties.Policies[0].Statement[0].Resource",
        "no such resource Queues",
    ),
    (
        "LOG_LEVEL: !Ref LogLevel",
        "LOG_LEVEL: !Ref LogLevl",
        "Globals.Function.Environment.Variables.LOG_LEVEL",
        "!Ref LogLevl: no such parameter or resource",
    ),
    ("!Ref Secret", "${Secrett}", "", "text outside !Sub is not a reference"),
    (
        "DATABASE_SECRET_ARN: !Ref Secret",
        "DATABASE_SECRET_ARN: !Sub \"${Secrett}/database\"",
        "EchoFunction.Properties.Environment.Variables.DATABASE_SECRET_ARN",
        "!Sub Secrett: no such parameter or resource",
    ),
    ("!If [HasPeer,", "!If [HasPeers,", "PEER_API_URL", "no such condition HasPeers"),
    ("  WorkFunction:\n", "  WorkFunction:\n    DependsOn: Nothing\n", "WorkFunction.DependsOn", "Nothing"),
    (
        "      MemorySize: 256",
        "      MemorySise: 256",
        "EchoFunction.Properties.MemorySise",
        "no such property",
    ),
    ("Runtime: provided.al2023", "Runtime: python3.13", "Function.Properties.Runtime", "provided.al2023"),
    ("      MemorySize: 256", "      Handler: main", "EchoFunction.Properties.Handler", "bootstrap"),
    ("Parameters:", "Parameters: [", "template", ""),
];

#[test]
fn template_errors_name_the_location_and_the_reason() {
    for (valid, invalid, place, reason) in INVALID {
        assert!(TEMPLATE.contains(valid), "the template does not contain {valid}");
        match Template::parse(&TEMPLATE.replacen(valid, invalid, 1), "us-east-1") {
            Ok(_) => assert!(place.is_empty(), "{invalid} was accepted"),
            Err(error) => {
                let error = error.to_string();
                assert!(
                    !place.is_empty() && error.contains(place) && error.contains(reason),
                    "{invalid}: {error}"
                );
            }
        }
    }
}

#[test]
fn a_function_url_without_a_public_path_is_an_error() {
    let template = TEMPLATE
        .replace("HookUrl: {Value: !Sub \"${EchoFunctionUrl.FunctionUrl}hook\"}", "Other: {Value: x}");
    let error = Template::parse(&template, "us-east-1").unwrap_err().to_string();
    assert!(
        error.starts_with("EchoFunction.Properties.FunctionUrlConfig: no output contains its public path"),
        "{error}"
    );
}

#[test]
fn intrinsic_functions_return_the_same_values_as_cloudformation() {
    let cases = [
        (r#"!Join ["-", [a, !Ref "AWS::Region", !Ref LogLevel]]"#, "a-us-east-1-info"),
        (r#"!Join ["-", !Ref Names]"#, "a-b"),
        (r#"!Select [1, !Split [",", "a,b,c"]]"#, "b"),
        (r#"!Sub ["${x}/${!y}/${AWS::AccountId}", {x: !Ref LogLevel}]"#, "info/${y}/000000000000"),
        (r#"!If [HasPeer, yes, no]"#, "no"),
        ("!GetAtt Queue.QueueName", "work"),
        ("!GetAtt EchoFunction.Arn", "arn:aws:lambda:us-east-1:000000000000:function:echo"),
        ("7", "7"),
        ("true", "true"),
    ];
    for (expression, expected) in cases {
        let template = TEMPLATE.replace("QUEUE_ARN: !GetAtt Queue.Arn", &format!("QUEUE_ARN: {expression}"));
        let template = Template::parse(&template, "us-east-1").unwrap();
        let defaults = map(&[("DATABASE_SECRET_ARN", "x")]);
        let environment = template.environment(&template.functions[0], |_| None, &defaults, &BTreeMap::new());
        assert_eq!(environment.unwrap()["QUEUE_ARN"], expected, "{expression}");
    }
}

#[test]
fn public_paths_exclude_base_urls_and_fragments() {
    let template = TEMPLATE.replace(
        "HookUrl: {Value: !Sub \"${EchoFunctionUrl.FunctionUrl}hook\"}",
        "Bases: {Value: !Sub \"${EchoFunctionUrl.FunctionUrl},${EchoFunctionUrl.FunctionUrl}\"}\n  \
         Base: {Value: !GetAtt EchoFunctionUrl.FunctionUrl}\n  \
         HookUrl: {Value: !Sub \"${EchoFunctionUrl.FunctionUrl}hook#rc=5\"}",
    );
    assert_eq!(Template::parse(&template, "us-east-1").unwrap().function_urls, urls());
}

#[test]
fn the_local_stack_can_run_the_project_template() {
    let template = Template::parse(include_str!("../../../template.yaml"), "us-east-1").unwrap();
    let defaults =
        ["DATABASE_SECRET_ARN", "TWILIO_ACCOUNT_SID", "TWILIO_SECRET_ARN", "PUBLIC_WEBHOOK_BASE_URL"];
    let defaults = map(&defaults.map(|name| (name, "default")));
    for function in &template.functions {
        template.environment(function, |_| None, &defaults, &BTreeMap::new()).unwrap();
    }
    assert!(template.routes.iter().any(|route| route.path == "/health" && route.authorizer.is_none()));
    let urls: Vec<_> = template.function_urls.iter().map(|url| url.path.as_str()).collect();
    assert!(urls.contains(&"/webhook/twilio/sms") && urls.contains(&"/webhook/twilio/status"), "{urls:?}");
    let streams = template.function_urls.iter().filter(|url| url.streams).map(|url| url.path.as_str());
    assert_eq!(streams.collect::<Vec<_>>(), ["/events/stream"]);
}
