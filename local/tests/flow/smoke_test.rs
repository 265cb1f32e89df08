//! The smoke test of deployments, against the local stack.

use std::path::Path;
use std::process::{Command, Output};

use crate::stack::{Stack, shared};

const SMOKE_TEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/smoke_test.py");

fn smoke_test(python: &Path, stack: &Stack, token: &str) -> Output {
    let base = stack.info.webhook_base_url.trim_end_matches('/');
    let mut command = Command::new(python);
    command.args([SMOKE_TEST, "--api", &stack.info.api_url, "--deadline", "0"]);
    command.arg("--inbound").arg(format!("{base}/webhook/twilio/sms#rc=5&rp=all"));
    command.arg("--status").arg(format!("{base}/webhook/twilio/status"));
    command.env("TWILIO_AUTH_TOKEN", token).output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_smoke_test_accepts_a_running_stack_and_finds_a_wrong_token() {
    let Some(python) = testing::python("the_smoke_test_accepts_a_running_stack_and_finds_a_wrong_token")
    else {
        return;
    };
    let stack = shared().await;
    let good = smoke_test(&python, &stack, &stack.info.auth_token);
    let text = String::from_utf8_lossy(&good.stdout);
    assert!(good.status.success() && !text.contains("skipped"), "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with("ok ")).count(), 7, "{text}");

    let wrong = smoke_test(&python, &stack, "another-token");
    let text = String::from_utf8_lossy(&wrong.stdout);
    assert!(!wrong.status.success(), "{text}");
    let failed: Vec<_> = text.lines().filter(|line| line.starts_with("failed ")).collect();
    assert!(failed.len() == 2 && failed.iter().all(|line| line.contains("signed: status 403")), "{text}");
}
