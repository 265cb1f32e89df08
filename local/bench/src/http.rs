//! A minimal HTTP/1.1 server with a thread per connection. It uses little CPU, because it shares the machine with the
//! measured functions.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

/// An HTTP request.
#[derive(Debug)]
pub struct Request {
    /// The request line.
    pub line: String,
    /// The headers, with names in lower case.
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
            return Err(io::Error::other("chunked requests are not supported"));
        }
        let length = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        request.body.resize(length, 0);
        stream.read_exact(&mut request.body)?;
        Ok(Some(request))
    }
}

/// An HTTP response.
#[derive(Debug)]
pub struct Response {
    /// The status line without the version.
    pub status: &'static str,
    /// Further headers, each with a line end.
    pub headers: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
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

/// Serves connections until the process ends. A handler that returns `None` closes its connection.
pub fn serve(
    handler: impl Fn(Request) -> Option<Response> + Send + Sync + 'static,
) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let handler = Arc::new(handler);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let handler = Arc::clone(&handler);
            std::thread::spawn(move || {
                if let Err(error) = connection(stream, handler.as_ref()) {
                    // A killed function resets its connections. Other errors are unexpected.
                    if error.kind() != io::ErrorKind::ConnectionReset {
                        eprintln!("connection failed: {error}");
                    }
                }
            });
        }
    });
    Ok(address)
}

fn connection(mut stream: TcpStream, handler: &impl Fn(Request) -> Option<Response>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    while let Some(request) = Request::read(&mut reader)? {
        let Some(response) = handler(request) else { break };
        response.write(&mut stream)?;
    }
    Ok(())
}
