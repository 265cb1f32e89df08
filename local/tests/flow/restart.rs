//! Ctrl-C and `kill -9`: nothing is left behind, and the data are there the next time.

use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use local::stack::StackInfo;
use rustix::process::{Pid, Signal, kill_process};

use crate::client::{exchange, fresh_handset, fresh_sid};
use crate::stack::{Setup, eventually, own_environment};

/// Where a stack listens.
fn ports(info: &StackInfo) -> Vec<SocketAddr> {
    [&info.api_url, &info.twilio_api_url, &info.aws_endpoint_url, &info.database_url]
        .map(|url| ([127, 0, 0, 1], url::Url::parse(url).unwrap().port().unwrap()).into())
        .into()
}

/// Whether somebody listens there.
fn is_open(address: &SocketAddr) -> bool {
    std::net::TcpStream::connect(address).is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_and_a_kill_leave_nothing_behind_and_lose_nothing() {
    let mut stack = Setup::impatient().start().await;
    let (handset, stuck) = (fresh_handset(), fresh_handset());
    let id = stack.send(&handset, "Before the restart").await;
    stack.reaches(&id, "delivered").await;
    let dead_letters = stack.info.queues["InboundDeadLetterQueue"].clone();
    let client = stack.sqs(&stack.sqs_endpoint());
    client.send_message().queue_url(dead_letters).message_body("kept").send().await.unwrap();
    // A webhook that is in a worker's hands when the stack is stopped.
    let mut holder = stack.sql().await;
    let lock = holder.client.transaction().await.unwrap();
    lock.batch_execute("lock table sms_messages in access exclusive mode").await.unwrap();
    stack.accepts(&stack.incoming(&stuck, &fresh_sid(), "In between")).await;
    // At once, or by way of the spool.
    stack.queues_hold(&[("InboundDeadLetterQueue", 1), ("InboundQueue", 1)]).await;
    assert!(ports(&stack.info).iter().all(is_open));
    assert!(stack.processes().len() > 3, "{:?}", stack.processes());

    let status = stack.signal(Signal::INT).await;
    assert_eq!(status.code(), Some(0));
    assert_eq!(stack.processes(), Vec::<String>::new());
    assert!(!ports(&stack.info).iter().any(is_open));
    assert!(!stack.folder().join("target/local/stack.json").exists());

    let (key, number) = (stack.info.api_key.clone(), stack.info.phone_number.clone());
    let mut stack = stack.start_again().await;
    assert_eq!((&stack.info.api_key, &stack.info.phone_number), (&key, &number));
    assert_eq!(stack.message(&id).await["delivery_status"], "delivered");
    assert_eq!(stack.ledger(&handset).await.len(), 1);
    stack.conversation_where(&stuck, |page| page["total"] == 1).await;
    stack.queues_hold(&[("InboundDeadLetterQueue", 1)]).await;
    let another = stack.command(&["run"]);
    let told = String::from_utf8(another.stderr).unwrap();
    assert!(!another.status.success() && told.contains("a stack is running"), "{told}");

    let status = stack.signal(Signal::KILL).await;
    assert_eq!(status.signal(), Some(9));
    eventually("nothing is left", async || stack.processes().is_empty().then_some(())).await;
    assert!(!ports(&stack.info).iter().any(is_open));
    let stack = stack.start_again().await;
    assert_eq!(exchange(stack.call("GET", &format!("/messages/{id}"))).await.status, 200);
    stack.queues_hold(&[("InboundDeadLetterQueue", 1)]).await;
}

/// Whether the cluster is being set up: its folder has a name of its own until it is whole.
fn is_set_up(postgres: &Path) -> bool {
    let mut folders = std::fs::read_dir(postgres).into_iter().flatten().flatten();
    folders.any(|folder| folder.file_name() != "data" && folder.path().join("PG_VERSION").exists())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_is_interrupted_leaves_nothing_that_the_next_one_stumbles_over() {
    let mut stack = Setup::impatient().start().await;
    stack.signal(Signal::INT).await;
    let cleaned = stack.command(&["clean-data"]);
    assert!(cleaned.status.success(), "{cleaned:?}");
    let postgres = stack.folder().join("target/local/postgres");
    let steps: [(&str, &dyn Fn() -> bool); 5] = [
        ("initdb has begun", &|| is_set_up(&postgres)),
        ("initdb has begun once more", &|| is_set_up(&postgres)),
        ("the server has begun", &|| postgres.join("data/postmaster.pid").exists()),
        ("the server has begun once more", &|| postgres.join("data/postmaster.pid").exists()),
        ("the schema is being made", &|| stack.folder().join("target/local/logs/migrate.log").exists()),
    ];
    for (step, is_there) in steps {
        let mut start = Command::new(stack.folder().join("local"));
        start.arg("run").current_dir(stack.folder()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut start = own_environment(&mut start).spawn().unwrap();
        eventually(step, async || (is_there() || start.try_wait().unwrap().is_some()).then_some(())).await;
        let pid = Pid::from_raw(i32::try_from(start.id()).unwrap()).unwrap();
        // Not SIGINT, which is ignored from the start on where the tests run in a shell's background.
        let _ = kill_process(pid, Signal::TERM);
        let ended = start.wait_with_output().unwrap();
        let told = String::from_utf8_lossy(&ended.stderr);
        // Before it listens for signals, it ends by this one.
        let is_clean = ended.status.success() || ended.status.signal() == Some(Signal::TERM.as_raw());
        assert!(is_clean, "interrupted when {step}, it ended with {}: {told}", ended.status);
    }
    // A server that was killed before it wrote its number leaves this; the steps above hardly ever meet that moment.
    std::fs::write(postgres.join("data/postmaster.pid"), "").unwrap();
    let stack = stack.start_again().await;
    let id = stack.send(&fresh_handset(), "After all of that").await;
    stack.reaches(&id, "delivered").await;
}
