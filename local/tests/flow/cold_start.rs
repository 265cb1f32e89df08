//! Sends that come at once, to a stack whose functions have not started yet, on a machine that is busy, while Postgres is slow.

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::json;

use crate::client::{Answer, exchange, fresh_handset};
use crate::door::Database;
use crate::stack::{Setup, eventually};

const SENDS: usize = 200;

/// How long Postgres, which takes connections, says nothing: longer than until callers are told that it is down.
const SILENCE: Duration = Duration::from_secs(6);

/// Keeps a processor busy for as long as the process that started it lives.
const LOAD: &str =
    "while kill -0 $PPID 2>/dev/null; do i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; done";

/// Processes that keep every processor busy until this is dropped.
struct Load(Vec<Child>);

impl Load {
    fn start() -> Self {
        let count = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        Self((0..count).map(|_| Command::new("sh").args(["-c", LOAD]).spawn().unwrap()).collect())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sends_at_once_to_a_cold_stack_on_a_busy_machine_with_a_slow_postgres_are_all_accepted() {
    let database = Database::start().await;
    let stack = Setup::impatient().with("DATABASE_URL", &database.url()).start().await;
    let load = Load::start();
    database.stall(true);
    let sends = (0..SENDS).map(|n| {
        let body = json!({ "to": fresh_handset(), "body": format!("Send {n}") });
        exchange(stack.call("POST", "/sms/send").json(&body))
    });
    let speak_again = async {
        eventually("an authorizer has started", async || (!stack.pids("authorize").is_empty()).then_some(()))
            .await;
        let begun = Instant::now();
        eventually("a slow Postgres", async || (begun.elapsed() > SILENCE).then_some(())).await;
        database.stall(false);
    };
    let (answers, ()) = tokio::join!(join_all(sends), speak_again);
    drop(load);
    let refused: Vec<&Answer> = answers.iter().filter(|answer| answer.status != 202).collect();
    assert!(refused.is_empty(), "{} of {SENDS} were not accepted: {:#?}", refused.len(), refused.first());
    let stored = "select count(*) from sms_messages where direction = 'outbound'";
    assert_eq!(stack.sql().await.count(stored, &[]).await, SENDS as i64);
}
