//! Stopping the stack with Ctrl-C or `kill -9`, and restarting it with the same data.

use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use local::stack::StackInfo;
use rustix::process::{Pid, Signal, kill_process};

use crate::client::{fresh_handset, fresh_sid, send_request};
use crate::stack::{Setup, eventually, own_environment};

/// Returns the addresses on which a stack listens.
fn ports(info: &StackInfo) -> Vec<SocketAddr> {
    [&info.api_url, &info.twilio_api_url, &info.aws_endpoint_url, &info.database_url]
        .map(|url| ([127, 0, 0, 1], url::Url::parse(url).unwrap().port().unwrap()).into())
        .into()
}

/// Returns whether a process listens on the address.
fn is_open(address: &SocketAddr) -> bool {
    std::net::TcpStream::connect(address).is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_or_killed_stack_leaves_no_processes_and_keeps_its_data() {
    let mut stack = Setup::fast().start().await;
    let (handset, stuck) = (fresh_handset(), fresh_handset());
    let id = stack.send(&handset, "Before the restart").await;
    stack.wait_for_status(&id, "delivered").await;
    let dead_letters = stack.info.queues["InboundDeadLetterQueue"].clone();
    let client = stack.sqs(&stack.sqs_endpoint());
    client.send_message().queue_url(dead_letters).message_body("kept").send().await.unwrap();
    // A webhook that a worker is processing when the stack is stopped.
    let mut holder = stack.sql().await;
    let lock = holder.client.transaction().await.unwrap();
    lock.batch_execute("lock table sms_messages in access exclusive mode").await.unwrap();
    stack.deliver_webhook(&stack.inbound_webhook(&stuck, &fresh_sid(), "In between")).await;
    // The webhook is queued directly or through the spool.
    stack.wait_for_queues(&[("InboundDeadLetterQueue", 1), ("InboundQueue", 1)]).await;
    assert!(ports(&stack.info).iter().all(is_open));
    assert!(stack.processes().len() > 3, "{:?}", stack.processes());

    let status = stack.signal(Signal::INT).await;
    assert_eq!(status.code(), Some(0));
    assert_eq!(stack.processes(), Vec::<String>::new());
    assert!(!ports(&stack.info).iter().any(is_open));
    assert!(!stack.folder().join("target/local/stack.json").exists());

    let (key, number) = (stack.info.api_key.clone(), stack.info.phone_number.clone());
    let mut stack = stack.restart().await;
    assert_eq!((&stack.info.api_key, &stack.info.phone_number), (&key, &number));
    assert_eq!(stack.message(&id).await["delivery_status"], "delivered");
    assert_eq!(stack.received_by(&handset).await.len(), 1);
    stack.wait_for_conversation(&stuck, |page| page["total"] == 1).await;
    stack.wait_for_queues(&[("InboundDeadLetterQueue", 1)]).await;
    let another = stack.command(&["run"]);
    let error = String::from_utf8(another.stderr).unwrap();
    assert!(!another.status.success() && error.contains("another stack is running"), "{error}");

    let status = stack.signal(Signal::KILL).await;
    assert_eq!(status.signal(), Some(9));
    eventually("all processes have ended", async || stack.processes().is_empty().then_some(())).await;
    assert!(!ports(&stack.info).iter().any(is_open));
    let stack = stack.restart().await;
    assert_eq!(send_request(stack.api_request("GET", &format!("/messages/{id}"))).await.status, 200);
    stack.wait_for_queues(&[("InboundDeadLetterQueue", 1)]).await;
}

/// Returns whether the cluster is being initialized in its temporary folder.
fn is_initializing(postgres: &Path) -> bool {
    let mut folders = std::fs::read_dir(postgres).into_iter().flatten().flatten();
    folders.any(|folder| folder.file_name() != "data" && folder.path().join("PG_VERSION").exists())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stack_starts_after_an_interrupted_start() {
    let mut stack = Setup::fast().start().await;
    stack.signal(Signal::INT).await;
    let cleaned = stack.command(&["clean-data"]);
    assert!(cleaned.status.success(), "{cleaned:?}");
    let postgres = stack.folder().join("target/local/postgres");
    let steps: [(&str, &dyn Fn() -> bool); 5] = [
        ("initdb is running", &|| is_initializing(&postgres)),
        ("initdb is running again", &|| is_initializing(&postgres)),
        ("the server has started", &|| postgres.join("data/postmaster.pid").exists()),
        ("the server has started again", &|| postgres.join("data/postmaster.pid").exists()),
        ("the migrations are running", &|| stack.folder().join("target/local/logs/migrate.log").exists()),
    ];
    for (step, is_reached) in steps {
        let mut start = Command::new(stack.folder().join("local"));
        start.arg("run").current_dir(stack.folder()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut start = own_environment(&mut start).spawn().unwrap();
        eventually(step, async || (is_reached() || start.try_wait().unwrap().is_some()).then_some(())).await;
        let pid = Pid::from_raw(i32::try_from(start.id()).unwrap()).unwrap();
        // Not SIGINT: processes that a shell starts in the background ignore it.
        let _ = kill_process(pid, Signal::TERM);
        let ended = start.wait_with_output().unwrap();
        let error = String::from_utf8_lossy(&ended.stderr);
        // Before the signal handlers are installed, the signal itself ends the process.
        let is_clean = ended.status.success() || ended.status.signal() == Some(Signal::TERM.as_raw());
        assert!(is_clean, "interrupted when {step}, the stack exited with {}: {error}", ended.status);
    }
    // A server that is killed before it writes its PID leaves an empty file. The steps above rarely hit that moment.
    std::fs::write(postgres.join("data/postmaster.pid"), "").unwrap();
    let stack = stack.restart().await;
    let id = stack.send(&fresh_handset(), "After all of that").await;
    stack.wait_for_status(&id, "delivered").await;
}
