//! A release binary, driven through a Runtime API that keeps times.

use crate::http::{self, Answer, Request};
use crate::processes;
use common::clock;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// How long anything may take before the function counts as stuck.
const PATIENCE: Duration = Duration::from_secs(120);

/// What happened at the Runtime API.
#[derive(Debug, Default)]
struct Log {
    waiting: VecDeque<Vec<u8>>,
    /// The function has asked for an event, and there is none.
    idle: bool,
    first_next: Option<Instant>,
    handed_over: Option<Instant>,
    answers: Vec<Handled>,
    /// Set when the process is gone, so that no thread waits for ever.
    over: bool,
}

/// One event's answer.
#[derive(Debug, Clone)]
pub struct Handled {
    /// From the event to its answer.
    pub took: Duration,
    /// When the answer came.
    pub at: Instant,
    /// What was answered.
    pub body: Vec<u8>,
}

/// What a series of events came to.
#[derive(Debug)]
pub struct Series {
    /// Each event's answer.
    pub answers: Vec<Handled>,
    /// From the first event to the last answer.
    pub elapsed: Duration,
    /// The function's own CPU time, all its threads.
    pub cpu: Duration,
}

/// A running function.
#[derive(Debug)]
pub struct Function {
    name: String,
    child: Child,
    log: Arc<(Mutex<Log>, Condvar)>,
    output: Arc<Mutex<VecDeque<String>>>,
    spawned: Instant,
}

impl Function {
    /// Starts a binary with nothing in its environment but `variables` and what Lambda sets, and with `events` waiting.
    pub fn start(binary: &Path, variables: &[(String, String)], events: Vec<Vec<u8>>) -> Self {
        let log = Arc::new((Mutex::new(Log { waiting: events.into(), ..Log::default() }), Condvar::new()));
        let serving = Arc::clone(&log);
        let address = http::serve(move |request| answer(&serving, &request)).expect("a port");
        let name = binary.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut command = Command::new(binary);
        command
            .env_clear()
            .env("AWS_LAMBDA_RUNTIME_API", address.to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", &name)
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
            .env("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
            .env("AWS_SESSION_TOKEN", "a-session-token-is-some-hundred-characters-long")
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::piped());
        let spawned = Instant::now();
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", binary.display()));
        let output: Arc<Mutex<VecDeque<String>>> = Arc::default();
        let kept = Arc::clone(&output);
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let over = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let mut kept = kept.lock().unwrap();
                kept.push_back(line);
                if kept.len() > 20 {
                    kept.pop_front();
                }
            }
            over.0.lock().unwrap().over = true;
            over.1.notify_all();
        });
        Self { name, child, log, output, spawned }
    }

    /// Returns how long it took from the process's start to its first question for an event.
    pub fn first_next(&self) -> Duration {
        let at = self.wait("first next", |log| log.first_next);
        at - self.spawned
    }

    /// Returns how long it took from the process's start to its first answer, and that answer.
    pub fn first_answer(&self) -> (Duration, Handled) {
        let handled = self.wait("first answer", |log| log.answers.first().cloned());
        (handled.at - self.spawned, handled)
    }

    /// Hands events over, one at a time, and waits until the function has asked for the next one after the last.
    pub fn run(&self, events: Vec<Vec<u8>>) -> Series {
        let count = events.len();
        self.wait("readiness", |log| log.idle.then_some(()));
        let before = processes::cpu_of(self.child.id());
        let begun = Instant::now();
        {
            let mut log = self.log.0.lock().unwrap();
            log.answers.clear();
            log.idle = false;
            log.waiting.extend(events);
            self.log.1.notify_all();
        }
        let answers =
            self.wait("answers", |log| (log.idle && log.answers.len() == count).then(|| log.answers.clone()));
        let elapsed = answers.last().map_or(Duration::ZERO, |last| last.at - begun);
        Series { answers, elapsed, cpu: processes::cpu_of(self.child.id()).saturating_sub(before) }
    }

    /// Returns the most memory that the process has held, in KiB.
    pub fn peak_memory_kib(&self) -> u64 {
        processes::peak_memory_kib(self.child.id())
    }

    fn wait<T>(&self, what: &str, probe: impl Fn(&Log) -> Option<T>) -> T {
        let mut log = self.log.0.lock().unwrap();
        loop {
            if let Some(found) = probe(&log) {
                return found;
            }
            let (next, waited) = self.log.1.wait_timeout(log, PATIENCE).unwrap();
            log = next;
            if log.over || waited.timed_out() {
                let output = self.output.lock().unwrap();
                panic!("{}: no {what}; its last lines were {output:#?}", self.name);
            }
        }
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        self.log.0.lock().unwrap().over = true;
        self.log.1.notify_all();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Answers a request of the function's.
fn answer((log, changed): &(Mutex<Log>, Condvar), request: &Request) -> Option<Answer> {
    let at = Instant::now();
    let mut log = log.lock().unwrap();
    if !request.line.contains("/runtime/invocation/next ") {
        assert!(
            request.line.contains("/response "),
            "{}: {}",
            request.line,
            String::from_utf8_lossy(&request.body)
        );
        let handed_over = log.handed_over.expect("an answer follows an event");
        log.answers.push(Handled { took: at - handed_over, at, body: request.body.clone() });
        // Told to the measuring thread when the function asks again: waking it now would compete with the function.
        if log.answers.len() == 1 {
            changed.notify_all();
        }
        return Some(Answer { status: "202 Accepted", headers: String::new(), body: Vec::new() });
    }
    log.first_next.get_or_insert(at);
    log.idle = log.waiting.is_empty();
    if log.idle {
        changed.notify_all();
    }
    let event = loop {
        if log.over {
            return None;
        }
        if let Some(event) = log.waiting.pop_front() {
            break event;
        }
        log = changed.wait(log).unwrap();
    };
    log.handed_over = Some(Instant::now());
    let headers = format!(
        "lambda-runtime-aws-request-id: {}\r\nlambda-runtime-deadline-ms: {}\r\n\
         lambda-runtime-invoked-function-arn: arn:aws:lambda:us-east-1:000000000000:function:bench\r\n\
         lambda-runtime-trace-id: Root=1-6922f1a0-3c9a4b5d6e7f8091a2b3c4d5;Sampled=0\r\n",
        clock::new_id(),
        clock::now().as_millisecond() + 60_000,
    );
    Some(Answer { status: "200 OK", headers, body: event })
}
