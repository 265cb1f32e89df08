//! Tests of the whole stack, started by its command, with its own Postgres.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use common::storage::{Endpoint, Storage, StorageConfig};
use http::Method;
use local::stack::StackInfo;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use testing::processes_of;
use tokio_postgres::NoTls;

use super::support::{TEMPLATE, eventually, fixture_folder, get, request};

/// A `local run` process in a temporary folder.
struct Run {
    child: Child,
    folder: TempDir,
}

impl Run {
    /// Starts the stack with links to the binaries in the same folder.
    fn start(template: &str, variables: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().unwrap();
        // If the tests run as root, the database server's user needs access.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::write(folder.path().join("template.yaml"), template).unwrap();
        for (from, name) in [
            (PathBuf::from(env!("CARGO_BIN_EXE_local")), "local"),
            (fixture_folder().join("fixture"), "fixture"),
            (fixture_folder().join("streaming"), "streaming"),
        ] {
            std::fs::hard_link(&from, folder.path().join(name))
                .or_else(|_| std::fs::copy(from, folder.path().join(name)).map(|_| ()))
                .unwrap();
        }
        Self::restart(folder, variables)
    }

    fn restart(folder: TempDir, variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(folder.path().join("local"));
        command.arg("run").current_dir(folder.path()).env_clear();
        // Other variables of the test environment must not affect the stack.
        for kept in ["PATH", "HOME", "LLVM_PROFILE_FILE", "RUST_BACKTRACE"] {
            command.envs(std::env::var(kept).map(|value| (kept, value)));
        }
        command
            .envs(["SMS_PORT", "SMS_TWILIO_PORT", "SMS_MONITOR_PORT"].map(|port| (port, "0")))
            .envs(variables.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        Self { child, folder }
    }

    async fn ready(&mut self) -> StackInfo {
        let data = self.folder.path().join("target/local");
        eventually("the stack is ready", async || {
            if self.child.try_wait().unwrap().is_some() {
                panic!("the stack exited: {}", self.error());
            }
            StackInfo::read(&data).ok()
        })
        .await
    }

    /// Returns what the stack has written to stderr until its exit.
    fn error(&mut self) -> String {
        let mut error = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
        error
    }

    fn signal(&mut self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn all_processes_end(folder: &Path) {
    eventually("all processes have ended", async || processes_of(folder).is_empty().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stack_can_be_killed_restarted_and_stopped() {
    let mut run = Run::start(TEMPLATE, &[]);
    let info = run.ready().await;
    let event = get(&format!("{}/open", info.api_url), &[]).await.json();
    assert_eq!(event["routeKey"], "GET /open");
    assert!(processes_of(run.folder.path()).iter().any(|line| line.contains("/postgres -D")));
    let names: Vec<_> = info.queues.keys().map(String::as_str).collect();
    assert_eq!(names, ["work", "work-dead"]);
    let data = run.folder.path().join("target/local");
    let pids = |name: &'static str| StackInfo::read(&data).ok().map(|info| info.functions[name].pids.clone());
    let echo =
        eventually("stack.json has the PID", async || pids("echo").filter(|pids| pids.len() == 1)).await;
    assert!(processes_of(run.folder.path()).iter().any(|line| line.trim().starts_with(&echo[0].to_string())));
    let response = request(Method::POST, &invoke_url(&info, "echo"), &[], r#"{"do":"sleep"}"#).await.json();
    let environment = &response["environment"];
    assert_eq!(
        environment["DATABASE_SECRET_ARN"],
        "arn:aws:secretsmanager:us-east-1:000000000000:secret:sms/local/database"
    );
    let in_environment =
        environment.as_object().unwrap().values().any(|value| value.to_string().contains("postgres://"));
    assert!(!in_environment, "{environment}");
    let action = async |name: &str, input: Value| {
        let target = format!("secretsmanager.{name}");
        let headers = [("x-amz-target", target.as_str()), ("content-type", "application/x-amz-json-1.1")];
        request(Method::POST, &info.aws_endpoint_url, &headers, input.to_string()).await
    };
    let id = &environment["DATABASE_SECRET_ARN"];
    let secret = action("GetSecretValue", json!({ "SecretId": id })).await.json();
    assert_eq!(secret["SecretString"], json!({ "url": info.database_url }).to_string());
    action("PutSecretValue", json!({ "SecretId": "sms/local/twilio", "SecretString": "{}" })).await;
    let changed = action("GetSecretValue", json!({ "SecretId": "sms/local/twilio" })).await.json();
    assert_eq!(changed["SecretString"], "{}");
    let unknown = action("GetSecretValue", json!({ "SecretId": "other" })).await;
    assert_eq!(
        (unknown.status.as_u16(), &unknown.json()["__type"]),
        (400, &json!("ResourceNotFoundException"))
    );
    assert_eq!(environment["QUEUE_URL"], info.queues["work"].as_str());
    assert_eq!(environment["AWS_ENDPOINT_URL_SQS"], info.aws_endpoint_url.as_str());
    assert_eq!(environment["BUCKET"], "filesbucket");
    let s3 = environment["AWS_ENDPOINT_URL_S3"].as_str().unwrap().to_owned();
    files(&s3).put("a/b", "content".into(), "text/plain").await.unwrap();

    run.signal(Signal::KILL);
    all_processes_end(run.folder.path()).await;
    let folder = std::mem::replace(&mut run.folder, TempDir::new().unwrap());
    let stale = data.join("stack.json");
    assert!(stale.exists());
    let mut run = Run::restart(folder, &[]);
    let info = eventually("the stack is ready again", async || {
        StackInfo::read(&data).ok().filter(|again| again.aws_endpoint_url != info.aws_endpoint_url)
    })
    .await;
    assert_eq!(get(&format!("{}/open", info.api_url), &[]).await.status, 200);
    let response = request(Method::POST, &invoke_url(&info, "echo"), &[], r#"{"do":"sleep"}"#).await.json();
    let s3 = response["environment"]["AWS_ENDPOINT_URL_S3"].as_str().unwrap().to_owned();
    assert_eq!(files(&s3).head("a/b").await.unwrap(), Some(7), "objects survive a restart");
    run.signal(Signal::INT);
    assert_eq!(processes_of(run.folder.path()), Vec::<String>::new());
    assert!(!stale.exists());
}

/// Returns a client of the template's bucket, with the credentials of the functions.
fn files(url: &str) -> Storage {
    let endpoint =
        Endpoint { url: url.parse().unwrap(), region: "us-east-1".to_owned(), has_bucket_in_host: false };
    let token = Some("local".to_owned());
    let keys = SharedCredentialsProvider::new(Credentials::new("local", "local", token, None, "test"));
    Storage::at(&endpoint, &StorageConfig::for_bucket("filesbucket"), keys).unwrap()
}

fn invoke_url(info: &StackInfo, function: &str) -> String {
    format!("{}/2015-03-31/functions/{function}/invocations", info.aws_endpoint_url)
}

/// Calls an SQS action without an SDK.
async fn sqs(info: &StackInfo, action: &str, input: Value) -> Value {
    let target = format!("AmazonSQS.{action}");
    let headers = [("x-amz-target", target.as_str()), ("content-type", "application/x-amz-json-1.0")];
    request(Method::POST, &info.aws_endpoint_url, &headers, input.to_string()).await.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_messages_go_to_the_dead_letter_queue_without_affecting_others() {
    let mut run = Run::start(TEMPLATE, &[]);
    let info = run.ready().await;
    let entries = ["good", "fail", "good", "fail", "good"];
    let entries: Vec<_> = entries
        .iter()
        .enumerate()
        .map(|(id, body)| serde_json::json!({ "Id": id.to_string(), "MessageBody": body }))
        .collect();
    let sent = serde_json::json!({ "QueueUrl": info.queues["work"], "Entries": entries });
    assert_eq!(sqs(&info, "SendMessageBatch", sent).await["Successful"].as_array().unwrap().len(), 5);
    let counts = async |queue: &str| {
        let input = serde_json::json!({ "QueueUrl": info.queues[queue], "AttributeNames": ["All"] });
        let attributes = sqs(&info, "GetQueueAttributes", input).await["Attributes"].clone();
        let count = |name: &str| attributes[name].as_str().unwrap().parse::<u32>().unwrap();
        (count("ApproximateNumberOfMessages"), count("ApproximateNumberOfMessagesNotVisible"))
    };
    eventually("the queue is empty and the dead-letter queue has two messages", async || {
        (counts("work").await == (0, 0) && counts("work-dead").await == (2, 0)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn schedules_run_at_the_configured_interval() {
    let mut run = Run::start(TEMPLATE, &[("SMS_SCHEDULE_SECONDS", "1")]);
    let info = run.ready().await;
    eventually("the schedule has run twice", async || {
        let metrics = get(&format!("{}/metrics", info.api_url), &[]).await;
        String::from_utf8(metrics.body.to_vec())
            .unwrap()
            .contains("sms_foundation_messages_stored_total{service=\"echo\"} 4")
            .then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_start_fails_with_the_name_of_a_function_that_is_not_built() {
    let template = TEMPLATE.replacen("Binary: fixture", "Binary: nowhere", 1);
    let mut run = Run::start(&template, &[]);
    assert!(!run.child.wait().unwrap().success());
    let mut error = String::new();
    run.child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
    assert_eq!(
        error,
        "local: functions not built: nowhere. `make run` builds all functions of the template\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_for_other_postgres_servers_have_no_effect() {
    let others = [("TZ", "Asia/Kolkata"), ("PGOPTIONS", "-c nonsense=1"), ("PGSSLMODE", "require")];
    let mut run = Run::start(TEMPLATE, &others);
    let info = run.ready().await;
    let (client, connection) = tokio_postgres::connect(&info.database_url, NoTls).await.unwrap();
    tokio::spawn(connection);
    let zone: String = client.query_one("show timezone", &[]).await.unwrap().get(0);
    assert_eq!(zone, "UTC");
}
