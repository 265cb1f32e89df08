//! Runs a release binary through a Runtime API that measures times.

use crate::http::{self, Request, Response};
use crate::processes;
use common::clock;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// Deadline of every wait for the function.
const DEADLINE: Duration = Duration::from_secs(120);

/// The state of the Runtime API.
#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Vec<u8>>,
    /// The function waits for an event, and there is none.
    idle: bool,
    first_next: Option<Instant>,
    event_sent: Option<Instant>,
    responses: Vec<Invocation>,
    /// The process has exited, so threads must stop waiting.
    exited: bool,
}

/// A completed invocation.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// The time from the event to the response.
    pub took: Duration,
    /// When the response arrived.
    pub at: Instant,
    /// The response.
    pub body: Vec<u8>,
}

/// The results of a series of events.
#[derive(Debug)]
pub struct Series {
    /// The invocations, in order.
    pub invocations: Vec<Invocation>,
    /// The time from the first event to the last response.
    pub elapsed: Duration,
    /// The CPU time of the function's process.
    pub cpu: Duration,
}

/// A running function.
#[derive(Debug)]
pub struct Function {
    name: String,
    child: Child,
    state: Arc<(Mutex<State>, Condvar)>,
    output: Arc<Mutex<VecDeque<String>>>,
    spawned: Instant,
}

impl Function {
    /// Starts a binary with `events` queued. Its environment has only `variables` and the variables that Lambda sets.
    pub fn start(binary: &Path, variables: &[(String, String)], events: Vec<Vec<u8>>) -> Self {
        let state =
            Arc::new((Mutex::new(State { waiting: events.into(), ..State::default() }), Condvar::new()));
        let served = Arc::clone(&state);
        let address = http::serve(move |request| respond(&served, &request)).expect("a port");
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
        let last_lines = Arc::clone(&output);
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let ended = Arc::clone(&state);
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let mut last_lines = last_lines.lock().unwrap();
                last_lines.push_back(line);
                if last_lines.len() > 20 {
                    last_lines.pop_front();
                }
            }
            ended.0.lock().unwrap().exited = true;
            ended.1.notify_all();
        });
        Self { name, child, state, output, spawned }
    }

    /// Returns the time from the start of the process to its first `next` request.
    pub fn first_next(&self) -> Duration {
        let at = self.wait("first next", |state| state.first_next);
        at - self.spawned
    }

    /// Returns the time from the start of the process to its first response, and the invocation.
    pub fn first_response(&self) -> (Duration, Invocation) {
        let invocation = self.wait("first response", |state| state.responses.first().cloned());
        (invocation.at - self.spawned, invocation)
    }

    /// Runs events one at a time, and waits until the function requests another one after the last.
    pub fn run(&self, events: Vec<Vec<u8>>) -> Series {
        let count = events.len();
        self.wait("readiness", |state| state.idle.then_some(()));
        let before = processes::cpu_of(self.child.id());
        let begun = Instant::now();
        {
            let mut state = self.state.0.lock().unwrap();
            state.responses.clear();
            state.idle = false;
            state.waiting.extend(events);
            self.state.1.notify_all();
        }
        let invocations = self.wait("responses", |state| {
            (state.idle && state.responses.len() == count).then(|| state.responses.clone())
        });
        let elapsed = invocations.last().map_or(Duration::ZERO, |last| last.at - begun);
        Series { invocations, elapsed, cpu: processes::cpu_of(self.child.id()).saturating_sub(before) }
    }

    /// Returns the CPU time of the process so far.
    pub fn cpu(&self) -> Duration {
        processes::cpu_of(self.child.id())
    }

    /// Returns the peak memory of the process, in KiB.
    pub fn peak_memory_kib(&self) -> u64 {
        processes::peak_memory_kib(self.child.id())
    }

    fn wait<T>(&self, what: &str, probe: impl Fn(&State) -> Option<T>) -> T {
        let mut state = self.state.0.lock().unwrap();
        loop {
            if let Some(found) = probe(&state) {
                return found;
            }
            let (next, waited) = self.state.1.wait_timeout(state, DEADLINE).unwrap();
            state = next;
            if state.exited || waited.timed_out() {
                let output = self.output.lock().unwrap();
                panic!("{}: no {what}; the last lines of its output are {output:#?}", self.name);
            }
        }
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        self.state.0.lock().unwrap().exited = true;
        self.state.1.notify_all();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Responds to a request of the function to the Runtime API.
fn respond((state, changed): &(Mutex<State>, Condvar), request: &Request) -> Option<Response> {
    let at = Instant::now();
    let mut state = state.lock().unwrap();
    if !request.line.contains("/runtime/invocation/next ") {
        assert!(
            request.line.contains("/response "),
            "{}: {}",
            request.line,
            String::from_utf8_lossy(&request.body)
        );
        let event_sent = state.event_sent.expect("a response follows an event");
        state.responses.push(Invocation { took: at - event_sent, at, body: request.body.clone() });
        // Notify the measuring thread only at the next `next` request, so that it does not compete with the function.
        if state.responses.len() == 1 {
            changed.notify_all();
        }
        return Some(Response { status: "202 Accepted", headers: String::new(), body: Vec::new() });
    }
    state.first_next.get_or_insert(at);
    state.idle = state.waiting.is_empty();
    if state.idle {
        changed.notify_all();
    }
    let event = loop {
        if state.exited {
            return None;
        }
        if let Some(event) = state.waiting.pop_front() {
            break event;
        }
        state = changed.wait(state).unwrap();
    };
    state.event_sent = Some(Instant::now());
    let headers = format!(
        "lambda-runtime-aws-request-id: {}\r\nlambda-runtime-deadline-ms: {}\r\n\
         lambda-runtime-invoked-function-arn: arn:aws:lambda:us-east-1:000000000000:function:bench\r\n\
         lambda-runtime-trace-id: Root=1-6922f1a0-3c9a4b5d6e7f8091a2b3c4d5;Sampled=0\r\n",
        clock::new_id(),
        clock::now().as_millisecond() + 60_000,
    );
    Some(Response { status: "200 OK", headers, body: event })
}
