//! Twilio's daily lists of deactivated US numbers:
//! <https://www.twilio.com/docs/messaging/api/deactivations-resource>.
//!
//! Twilio redirects to a text file at a storage service, with a signed URL that is valid for two minutes. Twilio's
//! credentials are sent to Twilio only: no redirect is followed automatically, and the file is fetched without them. A
//! list may have a million lines, so it is read while it arrives.

use super::{ClientError, SendError, TwilioClient, TwilioConfig};
use crate::domain::phone::E164;
use crate::tls;
use bytes::{Buf, Bytes};
use jiff::civil::Date;
use reqwest::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use reqwest::{Client, Response, StatusCode};
use url::Url;

/// The path of the resource.
pub(super) const PATH: &str = "/v1/Deactivations";

/// The longest line that is read as a number, in bytes. A number has at most 16.
const MAX_LINE: usize = 64;

/// A list of deactivated numbers could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// Twilio did not say where the list is.
    #[error("asking Twilio for a list of deactivated numbers")]
    Twilio(#[from] SendError),
    /// Twilio's response is no redirect to a URL.
    #[error("Twilio did not redirect to a list of deactivated numbers")]
    NoRedirect,
    /// Twilio redirected to a URL that is not https.
    #[error("Twilio redirected to a list of deactivated numbers without TLS")]
    Insecure,
    /// The storage service refused the request.
    #[error("the storage service refused a list of deactivated numbers with HTTP {0}")]
    Refused(u16),
    /// The response has neither a length nor chunks, so a list that breaks off would look complete.
    #[error("a list of deactivated numbers does not show where it ends")]
    NoEnd,
    /// The storage service did not respond in time, or the connection broke off.
    #[error("reading a list of deactivated numbers")]
    Broken(#[source] reqwest::Error),
}

/// A client for the lists.
#[derive(Debug, Clone)]
pub struct DeactivationLists {
    twilio: TwilioClient,
    files: Client,
}

impl DeactivationLists {
    /// Creates a client from [`TwilioConfig::for_messaging`]. It connects on the first request.
    ///
    /// # Errors
    ///
    /// [`ClientError`] if TLS or the HTTP client cannot be configured. The function should not start.
    pub fn new(config: TwilioConfig) -> Result<Self, ClientError> {
        let files = Client::builder()
            .tls_backend_preconfigured(tls::client_config(&config.base_url)?)
            .http1_only()
            .pool_max_idle_per_host(0)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .connect_timeout(config.timeout)
            // For each read: the whole list takes as long as its numbers are processed.
            .read_timeout(config.timeout)
            .user_agent(concat!("sms-foundation/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(ClientError::Http)?;
        Ok(Self { twilio: TwilioClient::new(config)?, files })
    }

    /// Opens the list of a day. Returns `None` if Twilio has no list of that day, or not yet.
    ///
    /// # Errors
    ///
    /// [`ListError`]. The caller can retry.
    pub async fn open(&self, day: Date) -> Result<Option<NumberList>, ListError> {
        let base = &self.twilio.config.base_url;
        let mut url = base.clone();
        url.set_path(&format!("{}{PATH}", base.path().trim_end_matches('/')));
        url.query_pairs_mut().append_pair("Date", &day.to_string());
        let redirect = match self.twilio.get(url).await {
            Err(error) if error.status() == Some(404) => return Ok(None),
            outcome => outcome?,
        };
        let file = file_url(base, redirect.location.as_deref())?;
        let response = self.files.get(file).send().await.map_err(broken)?;
        if response.status() != StatusCode::OK {
            return Err(ListError::Refused(response.status().as_u16()));
        }
        let headers = response.headers();
        if !headers.contains_key(CONTENT_LENGTH) && !headers.contains_key(TRANSFER_ENCODING) {
            return Err(ListError::NoEnd);
        }
        Ok(Some(NumberList { response, lines: Lines::default() }))
    }
}

/// Returns the URL of the file. It has no TLS only if the configured URL has none, as in the local stack.
fn file_url(base: &Url, location: Option<&str>) -> Result<Url, ListError> {
    let file = location.and_then(|location| base.join(location).ok()).ok_or(ListError::NoRedirect)?;
    if file.scheme() == "https" || file.scheme() == base.scheme() {
        Ok(file)
    } else {
        Err(ListError::Insecure)
    }
}

/// The URL of the file contains a signature, which must not be logged.
fn broken(error: reqwest::Error) -> ListError {
    ListError::Broken(error.without_url())
}

/// An open list.
#[derive(Debug)]
pub struct NumberList {
    response: Response,
    lines: Lines,
}

/// The next numbers of a list.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct NumberPage {
    /// The numbers.
    pub numbers: Vec<E164>,
    /// The lines that are neither numbers nor blank.
    pub malformed: usize,
    /// Whether the list ends here.
    pub is_last: bool,
}

impl NumberPage {
    fn add(&mut self, line: &[u8]) {
        let text = if line.len() > MAX_LINE { None } else { std::str::from_utf8(line.trim_ascii()).ok() };
        match text.map(str::parse::<E164>) {
            Some(Ok(number)) => self.numbers.push(number),
            Some(Err(_)) if text == Some("") => {}
            _ => self.malformed += 1,
        }
    }
}

impl NumberList {
    /// Returns the next numbers, `limit` of them unless the list ends before. It must be read to its last page: a list
    /// that breaks off is an error.
    ///
    /// # Errors
    ///
    /// [`ListError::Broken`]. Open the list again.
    pub async fn page(&mut self, limit: usize) -> Result<NumberPage, ListError> {
        let mut page = NumberPage::default();
        while page.numbers.len() < limit {
            if let Some(line) = self.lines.take() {
                page.add(&line);
                continue;
            }
            match self.response.chunk().await.map_err(broken)? {
                Some(chunk) => self.lines.chunk = chunk,
                None => {
                    page.add(&std::mem::take(&mut self.lines.begun));
                    page.is_last = true;
                    break;
                }
            }
        }
        Ok(page)
    }
}

/// Splits a text that arrives in chunks into lines. Of a long line, it keeps only the beginning.
#[derive(Debug, Default)]
struct Lines {
    /// What has arrived and is not split yet.
    chunk: Bytes,
    /// The beginning of a line whose end has not arrived. One byte more than allowed shows that it is too long.
    begun: Vec<u8>,
}

impl Lines {
    /// Returns the next line without its end, or `None` if the rest of it must arrive first: then the chunk is empty.
    fn take(&mut self) -> Option<Vec<u8>> {
        let end = self.chunk.iter().position(|byte| *byte == b'\n');
        let part = self.chunk.split_to(end.unwrap_or(self.chunk.len()));
        let room = (MAX_LINE + 1).saturating_sub(self.begun.len());
        self.begun.extend_from_slice(&part[..part.len().min(room)]);
        end?;
        self.chunk.advance(1);
        Some(std::mem::take(&mut self.begun))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_tls_unless_the_configured_url_has_none() {
        let of = |base: &str, location| {
            file_url(&base.parse().unwrap(), location).map(String::from).map_err(|error| error.to_string())
        };
        let (https, http) = ("https://messaging.twilio.com", "http://127.0.0.1:9010");
        let signed = "https://bucket.example/2026-11-01?X-Amz-Signature=a%2Bb";
        assert_eq!(of(https, Some(signed)).unwrap(), signed);
        assert_eq!(of(http, Some(signed)).unwrap(), signed);
        assert_eq!(of(http, Some("http://127.0.0.1/x")).unwrap(), "http://127.0.0.1/x");
        assert_eq!(of(https, Some("/files/x")).unwrap(), "https://messaging.twilio.com/files/x");
        for location in ["http://bucket.example/x", "ftp://bucket.example/x", "file:///etc/passwd"] {
            assert!(of(https, Some(location)).unwrap_err().contains("without TLS"), "{location}");
        }
        assert!(of(http, Some("ftp://bucket.example/x")).is_err());
        assert!(of(https, None).is_err() && of(https, Some("https://")).is_err());
    }

    /// Reads a text that arrives in pieces of a size. Returns the numbers and the number of malformed lines.
    fn read(text: &str, size: usize) -> (Vec<String>, usize) {
        let (mut lines, mut page) = (Lines::default(), NumberPage::default());
        for piece in text.as_bytes().chunks(size) {
            lines.chunk = Bytes::copy_from_slice(piece);
            while let Some(line) = lines.take() {
                page.add(&line);
            }
            assert!(lines.chunk.is_empty() && lines.begun.len() <= MAX_LINE + 1);
        }
        page.add(&lines.begun);
        (page.numbers.into_iter().map(String::from).collect(), page.malformed)
    }

    #[test]
    fn lines_are_read_in_whatever_pieces_they_arrive() {
        let text = "+12035550100\n+12035550101\r\n\n  +12035550102  \n \n+12035550103";
        for size in 1..=text.len() {
            let expected = ["+12035550100", "+12035550101", "+12035550102", "+12035550103"];
            assert_eq!(read(text, size), (expected.map(str::to_owned).to_vec(), 0), "{size}");
        }
        assert_eq!(read("", 1), (vec![], 0));
    }

    #[test]
    fn lines_that_are_no_numbers_are_counted() {
        let (spaces, long) = (" ".repeat(60), "1".repeat(100_000));
        let text = format!(
            "12035550100\n+1203555010x\n+12035550100,+12035550101\n\u{feff}+12035550100\n{spaces}+12035550100\n\
             +{long}\n+12035550109\nphone\n<Error>"
        );
        for size in [1, 7, 4_096, text.len()] {
            assert_eq!(read(&text, size), (vec!["+12035550109".to_owned()], 8), "{size}");
        }
        let mut page = NumberPage::default();
        page.add(b"+1203555\xff0100");
        assert_eq!(page.malformed, 1);
    }
}
