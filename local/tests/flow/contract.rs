//! The OpenAPI document against the running service: schemathesis, and generated clients for Python and TypeScript.
//! The configuration, the checks and the programs are in `local/contract`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::client::{fresh_handset, request, send_request};
use crate::stack::{Setup, Stack, shared};

/// The files of these tests.
fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("contract").join(name)
}

/// Runs a command and returns what it prints.
fn run(command: &mut Command, stack: &Stack) -> String {
    let info = &stack.info;
    command.env("CONTRACT_API_URL", &info.api_url).env("CONTRACT_API_KEY", info.api_key.as_ref().unwrap());
    command.env("CONTRACT_WEBHOOK_URL", &info.webhook_base_url).env("CONTRACT_AUTH_TOKEN", &info.auth_token);
    let output = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}\n{err}", output.status);
    out.into_owned()
}

/// Stores the document of the stack in a folder.
async fn document(stack: &Stack, folder: &Path) -> PathBuf {
    let response = send_request(request("GET", &format!("{}/openapi.json", stack.info.api_url))).await;
    assert_eq!(response.status, 200, "{response:?}");
    let path = folder.join("openapi.json");
    fs::write(&path, response.text).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn schemathesis_finds_no_fault() {
    let Some(python) = testing::python("schemathesis_finds_no_fault") else { return };
    // A stack of its own: webhooks with random content reach the dead-letter queues.
    let stack = Setup::fast().start().await;
    let folder = TempDir::new().unwrap();
    // schemathesis finds both in its working directory.
    for name in ["schemathesis.toml", "checks.py"] {
        fs::copy(file(name), folder.path().join(name)).unwrap();
    }
    let document = format!("{}/openapi.json", stack.info.api_url);
    let mut command = Command::new(python.with_file_name("schemathesis"));
    command.current_dir(folder.path());
    let report = run(command.args(["run", &document, "--no-color"]), &stack);
    // The last line shows the time.
    println!("{}", report.trim().lines().last().unwrap_or_default());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generated_python_client_works() {
    let Some(python) = testing::python("a_generated_python_client_works") else { return };
    let (stack, folder) = (shared().await, TempDir::new().unwrap());
    let document = document(&stack, folder.path()).await;
    let mut generate = Command::new(python.with_file_name("openapi-python-client"));
    generate.args(["generate", "--meta", "none", "--path"]).arg(document);
    generate.arg("--config").arg(file("python-client.yaml"));
    run(generate.arg("--output-path").arg(folder.path().join("sms_client")), &stack);
    let mut client = Command::new(python);
    client.arg(file("client.py")).arg(folder.path()).args([&stack.info.api_url, &fresh_handset()]);
    assert_eq!(run(&mut client, &stack).trim(), "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generated_typescript_client_works() {
    let Some(modules) = testing::node_modules("a_generated_typescript_client_works") else { return };
    let (stack, folder) = (shared().await, TempDir::new().unwrap());
    let document = document(&stack, folder.path()).await;
    symlink(&modules, folder.path().join("node_modules")).unwrap();
    fs::write(folder.path().join("package.json"), r#"{"type": "module"}"#).unwrap();
    fs::copy(file("client.ts"), folder.path().join("client.ts")).unwrap();
    let node = |program: &str| {
        let mut command = Command::new("node");
        command.current_dir(folder.path()).arg(program);
        command
    };
    let mut generate = node("node_modules/openapi-typescript/bin/cli.js");
    run(generate.arg(document).args(["--output", "schema.d.ts", "--empty-objects-unknown"]), &stack);
    let mut compile = node("node_modules/typescript/bin/tsc");
    run(
        compile.args([
            "--strict",
            "--skipLibCheck",
            "--module",
            "nodenext",
            "--target",
            "es2022",
            "client.ts",
        ]),
        &stack,
    );
    let mut client = node("client.js");
    client.args([&stack.info.api_url, &fresh_handset()]);
    assert_eq!(run(&mut client, &stack).trim(), "ok");
}
