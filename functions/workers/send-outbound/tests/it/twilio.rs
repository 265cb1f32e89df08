//! A Twilio that records requests and sends the configured replies.

use common::twilio::Form;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// The reply to one request. Without a configured reply, a request is accepted.
pub enum Reply {
    /// 201 with a new SID.
    Accept,
    /// 201 with this SID.
    AcceptAs(&'static str),
    /// 200 with a page of a list.
    List(Value),
    /// 201, after the test releases it.
    Hold,
    /// Like `Refuse`, after the test releases it.
    HoldAndRefuse(u16, u32, Option<&'static str>),
    /// This status, with Twilio's error JSON and an optional `Retry-After`.
    Refuse(u16, u32, Option<&'static str>),
    /// The connection is reset after the request was read.
    Reset,
    /// 201 with a truncated body.
    Truncate,
    /// No response.
    Hang,
}

/// One request.
#[derive(Debug, Clone)]
pub struct Request {
    pub line: String,
    pub authorization: String,
    pub form: Vec<(String, String)>,
}

impl Request {
    pub fn value(&self, key: &str) -> Option<&str> {
        self.form.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}

struct Shared {
    replies: Mutex<VecDeque<Reply>>,
    requests: Mutex<Vec<Request>>,
    gate: Semaphore,
}

pub struct Twilio {
    pub url: String,
    shared: Arc<Shared>,
}

impl Twilio {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            replies: Mutex::default(),
            requests: Mutex::default(),
            gate: Semaphore::new(0),
        });
        let serving = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&serving);
                tokio::spawn(async move { serve(stream, &shared).await });
            }
        });
        Self { url, shared }
    }

    pub fn replies(&self, replies: impl IntoIterator<Item = Reply>) {
        self.shared.replies.lock().unwrap().extend(replies);
    }

    /// Releases all held requests.
    pub fn release(&self) {
        self.shared.gate.add_permits(1_000);
    }

    /// Releases one held request.
    pub fn release_one(&self) {
        self.shared.gate.add_permits(1);
    }

    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// Waits until the given number of requests has been read.
    pub async fn asked(&self, times: usize) {
        testing::eventually("a request to Twilio", async || (self.requests().len() >= times).then_some(()))
            .await;
    }
}

async fn serve(mut stream: TcpStream, shared: &Shared) {
    let Some(request) = read(&mut stream).await else { return };
    let reply = shared.replies.lock().unwrap().pop_front().unwrap_or(Reply::Accept);
    let sid = {
        let mut requests = shared.requests.lock().unwrap();
        requests.push(request.clone());
        format!("SM{:032x}", requests.len())
    };
    match reply {
        Reply::Accept => write_response(&mut stream, 201, None, &created(&sid, &request), 0).await,
        Reply::AcceptAs(sid) => write_response(&mut stream, 201, None, &created(sid, &request), 0).await,
        Reply::List(page) => write_response(&mut stream, 200, None, &page, 0).await,
        Reply::Hold => {
            shared.gate.acquire().await.unwrap().forget();
            write_response(&mut stream, 201, None, &created(&sid, &request), 0).await;
        }
        Reply::HoldAndRefuse(status, code, retry_after) => {
            shared.gate.acquire().await.unwrap().forget();
            write_response(&mut stream, status, retry_after, &refusal(status, code, &request), 0).await;
        }
        Reply::Refuse(status, code, retry_after) => {
            write_response(&mut stream, status, retry_after, &refusal(status, code, &request), 0).await;
        }
        Reply::Reset => stream.set_zero_linger().unwrap(),
        Reply::Truncate => write_response(&mut stream, 201, None, &created(&sid, &request), 20).await,
        Reply::Hang => std::future::pending().await,
    }
}

async fn read(stream: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    loop {
        let mut part = [0; 4096];
        let count = stream.read(&mut part).await.ok().filter(|&count| count > 0)?;
        bytes.extend_from_slice(&part[..count]);
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let header = |name: &str| {
            let lines = head.lines().filter_map(|line| line.split_once(':'));
            lines.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
        };
        if body.len() < header("content-length").unwrap_or("0").parse().unwrap() {
            continue;
        }
        let form = Form::from_urlencoded(body.as_bytes()).unwrap();
        return Some(Request {
            line: head.lines().next().unwrap().to_owned(),
            authorization: header("authorization").unwrap_or_default().to_owned(),
            form: form.pairs().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        });
    }
}

fn refusal(status: u16, code: u32, request: &Request) -> Value {
    // Twilio's error messages contain numbers.
    let to = request.value("To").unwrap_or_default();
    let sentence = format!("The 'To' number {to} is not a valid phone number.");
    json!({"code": code, "message": sentence, "more_info": "https://x", "status": status})
}

fn created(sid: &str, request: &Request) -> Value {
    let status = if request.value("MessagingServiceSid").is_some() { "accepted" } else { "queued" };
    json!({
        "sid": sid, "account_sid": "AC1", "api_version": "2010-04-01", "body": request.value("Body"),
        "date_created": "Sun, 01 Nov 2026 12:00:00 +0000", "date_sent": null, "direction": "outbound-api",
        "error_code": null, "error_message": null, "from": request.value("From"), "num_media": "0",
        "num_segments": "1", "status": status, "to": request.value("To"),
    })
}

async fn write_response(
    stream: &mut TcpStream,
    status: u16,
    retry_after: Option<&str>,
    body: &Value,
    cut: usize,
) {
    let body = body.to_string();
    let retry_after = retry_after.map(|seconds| format!("retry-after: {seconds}\r\n")).unwrap_or_default();
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{retry_after}content-length: {}\r\n\r\n",
        body.len()
    );
    let text = format!("{head}{}", &body[..body.len() - cut]);
    // The client may have disconnected, which some tests intend.
    let _ = stream.write_all(text.as_bytes()).await;
    let _ = stream.shutdown().await;
}
