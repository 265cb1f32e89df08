//! A minimal Twilio server that accepts all messages, counts them and lists none.

use crate::http::{self, Response};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// A running server.
#[derive(Debug)]
pub struct Twilio {
    /// The value for `TWILIO_API_BASE_URL`.
    pub url: String,
    messages: Arc<AtomicU64>,
}

impl Twilio {
    /// Starts the server.
    pub fn start() -> Self {
        let messages = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&messages);
        let address = http::serve(move |request| {
            if request.line.starts_with("GET ") {
                let body = br#"{"messages":[],"next_page_uri":null}"#.to_vec();
                return Some(Response { status: "200 OK", headers: String::new(), body });
            }
            let number = counter.fetch_add(1, Ordering::Relaxed);
            // Unique, because the SIDs of several measurements are stored in one database.
            let sid = format!("SM{number:032x}");
            let body = format!(
                r#"{{"account_sid":"AC277f7ecc24aaab2316acb9fd8f634625","api_version":"2010-04-01","body":"Your rent is due on Friday.","date_created":"Mon, 23 Nov 2026 13:05:00 +0000","date_sent":null,"date_updated":"Mon, 23 Nov 2026 13:05:00 +0000","direction":"outbound-api","error_code":null,"error_message":null,"from":"+18605550100","messaging_service_sid":null,"num_media":"0","num_segments":"1","price":null,"price_unit":"USD","sid":"{sid}","status":"queued","subresource_uris":{{}},"to":"+12035550000","uri":"/2010-04-01/Accounts/AC277f7ecc24aaab2316acb9fd8f634625/Messages/{sid}.json"}}"#
            );
            Some(Response { status: "201 Created", headers: String::new(), body: body.into() })
        })
        .expect("a port");
        Self { url: format!("http://{address}"), messages }
    }

    /// Returns the number of messages so far.
    pub fn messages(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }

    /// Returns the server's own throughput in messages per second.
    ///
    /// Uses concurrent clients that only send, with one connection per message like the sender.
    pub fn own_rate(&self, messages: u64, clients: u64) -> f64 {
        let address = self.url.trim_start_matches("http://");
        let body = "To=%2B12035550000&From=%2B18605550100&Body=Your+rent+is+due+on+Friday.\
                    &StatusCallback=https%3A%2F%2Fsms.example.com%2Fwebhook%2Ftwilio%2Fstatus%3Fmessage_id%3D0";
        let request = format!(
            "POST /2010-04-01/Accounts/AC277f7ecc24aaab2316acb9fd8f634625/Messages.json HTTP/1.1\r\nhost: {address}\r\n\
             authorization: Basic QUM6dG9rZW4=\r\ncontent-type: application/x-www-form-urlencoded\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        let begun = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..clients {
                scope.spawn(|| (0..messages / clients).for_each(|_| create(address, &request)));
            }
        });
        messages as f64 / begun.elapsed().as_secs_f64()
    }
}

/// Makes a create call and reads the complete response.
fn create(address: &str, request: &str) {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    stream.write_all(request.as_bytes()).unwrap();
    let mut response = BufReader::new(stream);
    let (mut line, mut length) = (String::new(), 0);
    while response.read_line(&mut line).unwrap() > 2 {
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.trim().parse().unwrap();
        }
        line.clear();
    }
    let mut body = vec![0; length];
    response.read_exact(&mut body).unwrap();
}
