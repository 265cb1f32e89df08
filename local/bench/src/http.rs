//! As little HTTP/1.1 as the functions' clients need, on a thread per connection: what is measured shares the machine
//! with this.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

/// One request.
#[derive(Debug)]
pub struct Request {
    /// `GET /path`.
    pub line: String,
    /// The headers' lines, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// Returns a header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn read(stream: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut headers = Vec::new();
        loop {
            let mut header = String::new();
            stream.read_line(&mut header)?;
            let Some((name, value)) = header.trim_end().split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut request = Self { line: line.trim_end().to_owned(), headers, body: Vec::new() };
        if request.header("transfer-encoding").is_some() {
            return Err(io::Error::other("a chunked request, which this server does not read"));
        }
        let length = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        request.body.resize(length, 0);
        stream.read_exact(&mut request.body)?;
        Ok(Some(request))
    }
}

/// One answer.
#[derive(Debug)]
pub struct Answer {
    /// `200 OK`.
    pub status: &'static str,
    /// Further headers, each line ended.
    pub headers: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    fn write(&self, stream: &mut TcpStream) -> io::Result<()> {
        let Self { status, headers, body } = self;
        let mut text = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{headers}\r\n",
            body.len()
        )
        .into_bytes();
        text.extend_from_slice(body);
        stream.write_all(&text)
    }
}

/// Serves connections until the process ends; `None` ends a connection.
pub fn serve(handler: impl Fn(Request) -> Option<Answer> + Send + Sync + 'static) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let handler = Arc::new(handler);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let handler = Arc::clone(&handler);
            std::thread::spawn(move || {
                if let Err(error) = connection(stream, handler.as_ref()) {
                    // A killed function resets its connections; anything else is worth knowing.
                    if error.kind() != io::ErrorKind::ConnectionReset {
                        eprintln!("a connection failed: {error}");
                    }
                }
            });
        }
    });
    Ok(address)
}

fn connection(mut stream: TcpStream, handler: &impl Fn(Request) -> Option<Answer>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    while let Some(request) = Request::read(&mut reader)? {
        let Some(answer) = handler(request) else { break };
        answer.write(&mut stream)?;
    }
    Ok(())
}
