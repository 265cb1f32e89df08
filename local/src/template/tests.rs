use std::collections::BTreeMap;

use super::*;

mod deployment;

const TEMPLATE: &str = include_str!("../../tests/it/template.yaml");

fn parsed() -> Template {
    Template::parse(TEMPLATE, "us-east-1").unwrap()
}

fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn functions_take_what_they_say_over_the_globals_and_lambdas_defaults() {
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
fn triggers_are_read_with_what_bounds_them() {
    let template = parsed();
    let keys: Vec<_> =
        template.routes.iter().map(|route| (route.path.as_str(), route.authorizer.as_deref())).collect();
    let expected = [
        ("/things/{id}", Some("Keys")),
        ("/open", None),
        ("/order", None),
        ("/rest/{path+}", Some("Keys")),
        ("/throttled", None),
    ];
    assert_eq!(keys, expected);
    assert_eq!(template.routes[4].throttle, Some(Throttle { rate: 0.01, burst: 1.0 }));
    assert_eq!(template.routes[2].timeout, Duration::from_secs(30));
    let authorizer = AuthorizerSpec {
        function: "echo".to_owned(),
        headers: vec!["Authorization".to_owned()],
        query: vec![],
        ttl: Duration::from_secs(60),
    };
    assert_eq!(template.authorizers["Keys"], authorizer);
    let url = FunctionUrlSpec { path: "/hook".to_owned(), function: "echo".to_owned() };
    assert_eq!(template.function_urls, [url]);
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
fn a_variable_is_set_by_the_environment_then_the_stack_then_the_template() {
    let template = parsed();
    let echo = template.function("echo").unwrap();
    let embedded = map(&[("DATABASE_URL", "embedded"), ("NOT_DECLARED", "x")]);
    let runtime = map(&[("Queue", "http://queue"), ("EchoFunctionUrl.FunctionUrl", "http://door/")]);
    let set = |name: &str| (name == "LOG_LEVEL").then(|| "debug".to_owned());
    let expected = map(&[
        ("LOG_LEVEL", "debug"),
        ("DATABASE_URL", "embedded"),
        ("QUEUE_URL", "http://queue"),
        ("QUEUE_ARN", "arn:aws:sqs:us-east-1:000000000000:work"),
        ("CALLBACK", "http://door/hook"),
    ]);
    assert_eq!(template.environment(echo, set, &embedded, &runtime).unwrap(), expected);
    let set = |name: &str| (name == "PEER_API_URL").then(|| "http://peer".to_owned());
    let environment = template.environment(echo, set, &embedded, &runtime).unwrap();
    assert_eq!(
        environment["PEER_API_URL"], "http://peer",
        "declared, though the template's condition drops it"
    );
}

#[test]
fn a_secret_that_nothing_replaces_is_named() {
    let template = parsed();
    let echo = template.function("echo").unwrap();
    let error =
        template.environment(echo, |_| None, &BTreeMap::new(), &BTreeMap::new()).unwrap_err().to_string();
    assert_eq!(
        error,
        "EchoFunction.Properties.Environment.Variables.DATABASE_URL: \
         {{resolve:secretsmanager:local/database:SecretString:url}} is not readable locally: set DATABASE_URL in the \
         environment"
    );
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let cases = [
        ("BatchSize: 5", "BatchSize: five", "WorkMapping.Properties.BatchSize", "expected usize"),
        ("BatchSize: 5", "BatchSise: 5", "WorkMapping.Properties", "unknown field `BatchSise`"),
        ("BatchSize: 5", "BatchSize: 50", "WorkMapping.Properties.BatchSize", "Window"),
        ("MaximumConcurrency: 2", "MaximumConcurrency: 1", "MaximumConcurrency", "between 2 and 1000"),
        (
            "EventSourceArn: !GetAtt Queue.Arn",
            "EventSourceArn: !GetAtt Queu.Arn",
            "WorkMapping.Properties.EventSourceArn",
            "no resource Queu",
        ),
        (
            "VisibilityTimeout: 5",
            "VisibilityTimout: 5",
            "Queue.Properties",
            "unknown field `VisibilityTimout`",
        ),
        (
            "FunctionName: !Ref WorkFunction",
            "FunctionName: x",
            "WorkMapping.Properties.FunctionName",
            "no function",
        ),
        (
            "      Events:\n",
            "      Events:\n        Work: {Type: SQS, Properties: {Queue: !GetAtt Queue.Arn}}\n",
            "EchoFunction.Properties.Events.Work",
            "every queue of the account",
        ),
        ("Path: /open", "Path: open", "EchoFunction.Properties.Events.Open.Properties.Path", "slash"),
        ("DefaultAuthorizer: Keys", "DefaultAuthorizer: Locks", "Auth.Authorizer", "no authorizer Locks"),
        ("Type: ScheduleV2", "Type: Clock", "EchoFunction.Properties.Events.Tick", "unknown variant `Clock`"),
        (
            "HookUrl: {Value:",
            "HookUrl: {Condition: Missing, Value:",
            "Outputs.HookUrl",
            "no condition Missing",
        ),
        ("AuthType: NONE", "AuthType: AWS_IAM", "EchoFunction.Properties.FunctionUrlConfig.AuthType", "NONE"),
        ("CodeUri: functions/api/echo", "Handler: x", "EchoFunction.Properties.CodeUri", "folder"),
        (
            "EnableSimpleResponses: true",
            "EnableSimpleResponses: false",
            "Api.Properties.Auth",
            "EnableSimple",
        ),
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
            "no resource Queues",
        ),
        (
            "LOG_LEVEL: !Ref LogLevel",
            "LOG_LEVEL: !Ref LogLevl",
            "Globals.Function.Environment.Variables.LOG_LEVEL",
            "!Ref LogLevl: there is no parameter or resource",
        ),
        (
            "{{resolve:secretsmanager:local/database:SecretString:url}}",
            "${Secrett}",
            "",
            "a text that no !Sub reads refers to nothing",
        ),
        (
            "DATABASE_URL: \"{{resolve:secretsmanager:local/database:SecretString:url}}\"",
            "DATABASE_URL: !Sub \"{{resolve:secretsmanager:${Secrett}:SecretString:url}}\"",
            "EchoFunction.Properties.Environment.Variables.DATABASE_URL",
            "!Sub Secrett: there is no parameter or resource",
        ),
        ("!If [HasPeer,", "!If [HasPeers,", "PEER_API_URL", "there is no condition HasPeers"),
        (
            "  WorkFunction:\n",
            "  WorkFunction:\n    DependsOn: Nothing\n",
            "WorkFunction.DependsOn",
            "Nothing",
        ),
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
    for (right, wrong, place, reason) in cases {
        assert!(TEMPLATE.contains(right), "{right} is in the template");
        match Template::parse(&TEMPLATE.replacen(right, wrong, 1), "us-east-1") {
            Ok(_) => assert!(place.is_empty(), "{wrong} was taken"),
            Err(error) => {
                let error = error.to_string();
                assert!(
                    !place.is_empty() && error.contains(place) && error.contains(reason),
                    "{wrong}: {error}"
                );
            }
        }
    }
}

#[test]
fn a_function_url_without_a_public_path_is_refused() {
    let template = TEMPLATE
        .replace("HookUrl: {Value: !Sub \"${EchoFunctionUrl.FunctionUrl}hook\"}", "Other: {Value: x}");
    let error = Template::parse(&template, "us-east-1").unwrap_err().to_string();
    assert!(
        error.starts_with("EchoFunction.Properties.FunctionUrlConfig: no output gives its public path"),
        "{error}"
    );
}

#[test]
fn intrinsic_functions_give_what_cloudformation_gives() {
    let cases = [
        (r#"!Join ["-", [a, !Ref "AWS::Region", !Ref LogLevel]]"#, "a-us-east-1-info"),
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
        let embedded = map(&[("DATABASE_URL", "x")]);
        let environment = template.environment(&template.functions[0], |_| None, &embedded, &BTreeMap::new());
        assert_eq!(environment.unwrap()["QUEUE_ARN"], expected, "{expression}");
    }
}

#[test]
fn an_output_of_base_urls_is_no_path_and_a_fragment_is_not_part_of_one() {
    let template = TEMPLATE.replace(
        "HookUrl: {Value: !Sub \"${EchoFunctionUrl.FunctionUrl}hook\"}",
        "Bases: {Value: !Sub \"${EchoFunctionUrl.FunctionUrl},${EchoFunctionUrl.FunctionUrl}\"}\n  \
         Base: {Value: !GetAtt EchoFunctionUrl.FunctionUrl}\n  \
         HookUrl: {Value: !Sub \"${EchoFunctionUrl.FunctionUrl}hook#rc=5\"}",
    );
    let url = FunctionUrlSpec { path: "/hook".to_owned(), function: "echo".to_owned() };
    assert_eq!(Template::parse(&template, "us-east-1").unwrap().function_urls, [url]);
}

#[test]
fn the_projects_own_template_is_one_that_the_stack_runs() {
    let template = Template::parse(include_str!("../../../template.yaml"), "us-east-1").unwrap();
    let embedded = ["DATABASE_URL", "TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "PUBLIC_WEBHOOK_BASE_URL"];
    let embedded = map(&embedded.map(|name| (name, "embedded")));
    for function in &template.functions {
        template.environment(function, |_| None, &embedded, &BTreeMap::new()).unwrap();
    }
    assert!(template.routes.iter().any(|route| route.path == "/health" && route.authorizer.is_none()));
    let urls: Vec<_> = template.function_urls.iter().map(|url| url.path.as_str()).collect();
    assert!(urls.contains(&"/webhook/twilio/sms") && urls.contains(&"/webhook/twilio/status"), "{urls:?}");
}
