//! Ten thousand messages that wait to be sent, and tenants who get answers meanwhile: the whole stack, with a Twilio that sends
//! no faster than a real sender may and refuses what its queue can't take.
//!
//! Twilio refuses our configuration until all are accepted, so that they wait behind each other however slowly they came.

use crate::statistics::{median, percentile};
use local::stack::StackInfo;
use rustix::process::{Pid, Signal};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio_postgres::NoTls;

/// A high 10DLC trust score's pace; an ordinary one would take half an hour.
const SEGMENTS_PER_SECOND: u32 = 100;
/// What waits at Twilio at most: three seconds' worth, where the real one takes ten hours', so that a bulk that is handed over
/// faster than it is sent is noticed at once.
const QUEUE_SEGMENTS: u32 = 300;
/// How long a refused sender is held, in seconds; mended, it goes on within that.
const HOLD_SECONDS: &str = "3";
/// Callers of the API at the same time.
const CALLERS: usize = 8;
/// How often somebody gets an answer while the bulk is on its way.
const REPLY_EVERY: Duration = Duration::from_secs(2);
/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(1_200);

/// Prints what became of so many messages, and of the answers among them.
pub fn measure(binaries: &Path, template: &Path, messages: usize) {
    if !binaries.join("send-outbound").exists() {
        println!("bulk send-outbound not built");
        return;
    }
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(run(binaries, template, messages));
}

/// A stack in a folder of its own, stopped when it is dropped.
struct Stack {
    process: Child,
    folder: tempfile::TempDir,
    info: StackInfo,
    client: reqwest::Client,
}

impl Stack {
    async fn start(binaries: &Path, template: &Path) -> Self {
        let folder = tempfile::TempDir::with_prefix("sms-bench-").unwrap();
        // For the database server's user too, when this runs as root.
        let everyone = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(folder.path(), everyone).unwrap();
        std::fs::copy(template, folder.path().join("template.yaml")).unwrap();
        let own = std::env::current_exe().unwrap().with_file_name("local");
        let command = folder.path().join("local");
        std::fs::copy(&own, &command).unwrap_or_else(|error| panic!("{}: {error}", own.display()));
        for binary in std::fs::read_dir(binaries).unwrap().flatten() {
            if binary.file_name() != "local" {
                symlink(binary.path(), folder.path().join(binary.file_name())).unwrap();
            }
        }
        let rate = SEGMENTS_PER_SECOND.to_string();
        let process = Command::new(&command)
            .arg("run")
            .current_dir(folder.path())
            .envs([
                ("SMS_PORT", "0"),
                ("SMS_TWILIO_PORT", "0"),
                ("SMS_MONITOR_PORT", "0"),
                ("SENDER_SEGMENTS_PER_SECOND", &rate),
                ("SENDER_HOLD_SECONDS", HOLD_SECONDS),
                ("SMS_TWILIO_SEGMENTS_PER_SECOND", &rate),
                ("SMS_TWILIO_QUEUE_SEGMENTS", &QUEUE_SEGMENTS.to_string()),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let data = folder.path().join("target/local");
        let info = loop_until("the stack is ready", async || StackInfo::read(&data).ok()).await;
        Self { process, folder, info, client: reqwest::Client::builder().no_proxy().build().unwrap() }
    }

    async fn send(&self, to: &str, body: &str, priority: &str) {
        let message = json!({ "to": to, "body": body, "priority": priority });
        let key = self.info.api_key.as_ref().unwrap();
        let url = format!("{}/sms/send", self.info.api_url);
        // The gateway takes so many a second, and refuses the rest.
        let answer = loop_until("the gateway has room", async || {
            let post = self.client.post(&url).bearer_auth(key).json(&message);
            Some(post.send().await.unwrap()).filter(|answer| answer.status() != 429)
        })
        .await;
        assert_eq!(answer.status(), 202, "{}", answer.text().await.unwrap());
    }

    /// Everything that Twilio has handed to a handset, or to all.
    async fn received(&self, handset: Option<&str>) -> Vec<Value> {
        let query = handset.map(|handset| format!("?to={handset}")).unwrap_or_default();
        let url = format!("{}/simulator/ledger{query}", self.info.twilio_api_url);
        self.client.get(url).send().await.unwrap().json().await.unwrap()
    }

    /// The create calls that were not refused for our configuration.
    async fn creates(&self) -> usize {
        let url = format!("{}/simulator/creates", self.info.twilio_api_url);
        let creates: Vec<Value> = self.client.get(url).send().await.unwrap().json().await.unwrap();
        creates.iter().filter(|create| create["fault"].is_null()).count()
    }

    /// Has Twilio refuse our number from now on.
    async fn break_configuration(&self) {
        let fault = json!({ "match": {}, "count": 0, "fault": { "kind": "error", "code": 21606 } });
        let post = self.client.post(format!("{}/simulator/faults", self.info.twilio_api_url));
        assert_eq!(post.json(&fault).send().await.unwrap().status(), 201);
    }

    async fn mend_configuration(&self) {
        let delete = self.client.delete(format!("{}/simulator/faults", self.info.twilio_api_url));
        assert!(delete.send().await.unwrap().status().is_success());
    }

    /// Sends somebody an answer, and returns after how many milliseconds it was on the handset.
    async fn reply(&self, number: usize, priority: &str) -> f64 {
        let (handset, asked) = (format!("+1203444{number:04}"), Instant::now());
        self.send(&handset, "Somebody is on the way.", priority).await;
        loop_until("the answer is on its handset", async || {
            (!self.received(Some(&handset)).await.is_empty()).then_some(())
        })
        .await;
        asked.elapsed().as_secs_f64() * 1_000.0
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let _ = rustix::process::kill_process(Pid::from_child(&self.process), Signal::TERM);
        let _ = self.process.wait();
        let _ = local::postgres::remove_data(&self.folder.path().join("target/local/postgres"));
    }
}

async fn loop_until<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(begun.elapsed() < DEADLINE, "{what}: not within {} s", DEADLINE.as_secs());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn run(binaries: &Path, template: &Path, messages: usize) {
    let stack = Stack::start(binaries, template).await;
    let (sql, connection) = tokio_postgres::connect(&stack.info.database_url, NoTls).await.unwrap();
    tokio::spawn(connection);
    let count = async |sql_text: &str| -> i64 { sql.query_one(sql_text, &[]).await.unwrap().get(0) };
    stack.break_configuration().await;
    let accepted_in = accept(&stack, messages).await;
    let waiting = count("select count(*) from sms_messages where delivery_status = 'pending'").await;
    stack.mend_configuration().await;

    let (mended, is_left) = (Instant::now(), AtomicBool::new(false));
    let leave = async {
        let left = "select count(*) from sms_messages where priority = 'bulk' and twilio_sid is not null";
        while count(left).await < messages as i64 {
            assert!(mended.elapsed() < DEADLINE, "the bulk is not handed over");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        is_left.store(true, Ordering::Relaxed);
        mended.elapsed().as_secs_f64()
    };
    let (left_in, (urgent, normal)) = tokio::join!(leave, answer(&stack, &is_left));
    let copies = copies(&stack, messages + urgent.len() + normal.len()).await;
    println!(
        "bulk messages={messages} accepted_seconds={accepted_in:.1} waiting={waiting} \
         segments_per_second={SEGMENTS_PER_SECOND} twilio_queue_segments={QUEUE_SEGMENTS} handed_over_seconds={left_in:.1} \
         creates={} refused_21611={} replies={} urgent_p50_ms={:.0} urgent_max_ms={:.0} normal_p50_ms={:.0} \
         normal_max_ms={:.0} receipts={} duplicates={}",
        stack.creates().await,
        count("select count(*) from sms_send_attempts where error_code = '21611'").await,
        urgent.len() + normal.len(),
        median(&urgent),
        percentile(&urgent, 100.0),
        median(&normal),
        percentile(&normal, 100.0),
        copies.values().sum::<usize>(),
        copies.values().filter(|copies| **copies > 1).count(),
    );
}

/// Has a bulk accepted, and returns how many seconds that took.
async fn accept(stack: &Stack, messages: usize) -> f64 {
    let (begun, next) = (Instant::now(), AtomicUsize::new(0));
    let callers = (0..CALLERS).map(async |_| {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= messages {
                break;
            }
            let to = format!("+1203{:07}", 5_550_000 + number);
            stack.send(&to, &format!("Notice {number}"), "bulk").await;
        }
    });
    futures::future::join_all(callers).await;
    begun.elapsed().as_secs_f64()
}

/// Answers somebody every two seconds until the bulk has left, and returns how long the urgent and the other answers took.
async fn answer(stack: &Stack, is_left: &AtomicBool) -> (Vec<f64>, Vec<f64>) {
    let (mut urgent, mut normal) = (Vec::new(), Vec::new());
    // Until the hold is over nobody gets anything.
    loop_until("the bulk has begun", async || (stack.creates().await > 1).then_some(())).await;
    while !is_left.load(Ordering::Relaxed) || normal.is_empty() {
        let number = urgent.len() + normal.len();
        if number.is_multiple_of(2) {
            urgent.push(stack.reply(number, "urgent").await);
        } else {
            normal.push(stack.reply(number, "normal").await);
        }
        tokio::time::sleep(REPLY_EVERY).await;
    }
    (urgent, normal)
}

/// Waits until so many different texts are on handsets, and returns how often each is.
async fn copies(stack: &Stack, texts: usize) -> HashMap<(String, String), usize> {
    loop_until("all are on their handsets", async || {
        let mut copies: HashMap<(String, String), usize> = HashMap::new();
        for received in stack.received(None).await {
            let of = |key: &str| received[key].as_str().unwrap_or_default().to_owned();
            *copies.entry((of("handset"), of("body"))).or_default() += 1;
        }
        (copies.len() >= texts).then_some(copies)
    })
    .await
}
