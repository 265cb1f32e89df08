//! Concurrent sends during the cold start, on a busy machine with a slow Postgres.

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::json;

use crate::client::{HttpResponse, fresh_handset, send_request};
use crate::services::Database;
use crate::stack::{Setup, eventually};

const SENDS: usize = 200;

/// How long Postgres accepts connections without responding. Longer than the time after which callers get a 503.
const STALL: Duration = Duration::from_secs(6);

/// Keeps a processor busy while the parent process runs.
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
async fn concurrent_sends_during_a_cold_start_are_all_accepted() {
    let database = Database::start().await;
    let stack = Setup::fast().with("DATABASE_URL", &database.url()).start().await;
    let load = Load::start();
    database.stall(true);
    let sends = (0..SENDS).map(|n| {
        let body = json!({ "to": fresh_handset(), "body": format!("Send {n}") });
        send_request(stack.api_request("POST", "/sms/send").json(&body))
    });
    let resume = async {
        eventually("an authorizer has started", async || (!stack.pids("authorize").is_empty()).then_some(()))
            .await;
        let begun = Instant::now();
        eventually("the stall is over", async || (begun.elapsed() > STALL).then_some(())).await;
        database.stall(false);
    };
    let (responses, ()) = tokio::join!(join_all(sends), resume);
    drop(load);
    let refused: Vec<&HttpResponse> = responses.iter().filter(|response| response.status != 202).collect();
    assert!(
        refused.is_empty(),
        "{} of {SENDS} sends were not accepted: {:#?}",
        refused.len(),
        refused.first()
    );
    let stored = "select count(*) from sms_messages where direction = 'outbound'";
    assert_eq!(stack.sql().await.count(stored, &[]).await, SENDS as i64);
}
