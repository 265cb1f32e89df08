//! Where deliveries go: a URL or an SQS queue.

use std::fmt;
use std::str::FromStr;
use url::Url;

/// The maximum length of a URL.
const MAX_URL: usize = 2_048;
/// SQS's maximum length of a queue's name.
const MAX_QUEUE_NAME: usize = 80;

/// The destination of a subscription.
#[derive(Clone, PartialEq, Eq)]
pub enum Destination {
    /// An HTTP endpoint.
    Url(Url),
    /// An SQS queue.
    Queue(QueueArn),
}

// The query of a URL can contain a secret.
impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => write!(f, "Url({})", url.host_str().unwrap_or_default()),
            Self::Queue(arn) => write!(f, "Queue({arn})"),
        }
    }
}

/// Why a text is not a destination.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDestination {
    /// Not a URL.
    #[error("must be an https URL: {0}")]
    NotAUrl(url::ParseError),
    /// A URL without a host, or with spaces or control characters.
    #[error("must be an https URL with a host and without spaces")]
    Malformed,
    /// A URL that is too long.
    #[error("must have at most {MAX_URL} characters")]
    TooLong,
    /// A URL with a user name or a password.
    #[error("must not contain credentials; requests are signed instead")]
    Credentials,
    /// A URL with a fragment, which is never sent.
    #[error("must not contain a fragment (#)")]
    Fragment,
    /// Not the ARN of an SQS queue.
    #[error("must be the ARN of an SQS queue: arn:aws:sqs:<region>:<account>:<name>")]
    NotAQueue,
    /// Neither or both of URL and queue.
    #[error("exactly one of url and queue_arn is required")]
    NotExactlyOne,
}

impl Destination {
    /// Returns the destination with this URL. Whether it is allowed is checked when something is sent to it.
    ///
    /// # Errors
    ///
    /// [`InvalidDestination`], with the reason for the caller of the API.
    pub fn url(text: &str) -> Result<Self, InvalidDestination> {
        if text.chars().count() > MAX_URL {
            return Err(InvalidDestination::TooLong);
        }
        // The parser would remove some of them.
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(InvalidDestination::Malformed);
        }
        let url = Url::parse(text).map_err(InvalidDestination::NotAUrl)?;
        if !url.has_host() {
            return Err(InvalidDestination::Malformed);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(InvalidDestination::Credentials);
        }
        if url.fragment().is_some() {
            return Err(InvalidDestination::Fragment);
        }
        Ok(Self::Url(url))
    }

    /// Returns the destination with this queue.
    ///
    /// # Errors
    ///
    /// [`InvalidDestination::NotAQueue`].
    pub fn queue(arn: &str) -> Result<Self, InvalidDestination> {
        arn.parse().map(Self::Queue)
    }

    /// Returns the destination of a stored subscription, which has a URL or a queue.
    ///
    /// # Errors
    ///
    /// [`InvalidDestination`], if the row was not written by this service.
    pub fn stored(url: Option<&str>, queue_arn: Option<&str>) -> Result<Self, InvalidDestination> {
        match (url, queue_arn) {
            (Some(url), None) => Self::url(url),
            (None, Some(arn)) => Self::queue(arn),
            _ => Err(InvalidDestination::NotExactlyOne),
        }
    }
}

/// The ARN of an SQS queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueArn {
    partition: String,
    region: String,
    account: String,
    name: String,
}

impl QueueArn {
    /// Returns the region of the queue.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Returns the name of the queue.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns whether the queue keeps the order of a message group.
    #[must_use]
    pub fn is_fifo(&self) -> bool {
        self.name.ends_with(".fifo")
    }

    /// Returns the URL of the queue at `endpoint`, or at SQS's endpoint of its region.
    #[must_use]
    pub fn queue_url(&self, endpoint: Option<&str>) -> String {
        let (account, name) = (&self.account, &self.name);
        match endpoint {
            Some(endpoint) => format!("{}/{account}/{name}", endpoint.trim_end_matches('/')),
            None => {
                let suffix = if self.partition == "aws-cn" { "com.cn" } else { "com" };
                format!("https://sqs.{}.amazonaws.{suffix}/{account}/{name}", self.region)
            }
        }
    }
}

impl FromStr for QueueArn {
    type Err = InvalidDestination;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = text.split(':').collect();
        let &["arn", partition, "sqs", region, account, name] = parts.as_slice() else {
            return Err(InvalidDestination::NotAQueue);
        };
        let is_region = !region.is_empty()
            && region.len() <= 32
            && region.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        let is_account = account.len() == 12 && account.chars().all(|c| c.is_ascii_digit());
        let stem = name.strip_suffix(".fifo").unwrap_or(name);
        let is_name = !stem.is_empty()
            && name.len() <= MAX_QUEUE_NAME
            && stem.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        if !["aws", "aws-cn", "aws-us-gov"].contains(&partition) || !is_region || !is_account || !is_name {
            return Err(InvalidDestination::NotAQueue);
        }
        let [partition, region, account, name] = [partition, region, account, name].map(str::to_owned);
        Ok(Self { partition, region, account, name })
    }
}

impl fmt::Display for QueueArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { partition, region, account, name } = self;
        write!(f, "arn:{partition}:sqs:{region}:{account}:{name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arn_of_a_queue_gives_its_url() {
        for (arn, url, is_fifo) in [
            (
                "arn:aws:sqs:us-east-1:123456789012:events",
                "https://sqs.us-east-1.amazonaws.com/123456789012/events",
                false,
            ),
            (
                "arn:aws:sqs:eu-central-1:123456789012:My_events-1.fifo",
                "https://sqs.eu-central-1.amazonaws.com/123456789012/My_events-1.fifo",
                true,
            ),
            (
                "arn:aws-cn:sqs:cn-north-1:123456789012:e",
                "https://sqs.cn-north-1.amazonaws.com.cn/123456789012/e",
                false,
            ),
        ] {
            let queue: QueueArn = arn.parse().unwrap();
            assert_eq!((queue.to_string(), queue.is_fifo()), (arn.to_owned(), is_fifo));
            assert_eq!(queue.queue_url(None), url);
        }
        let queue: QueueArn = "arn:aws:sqs:us-east-1:000000000000:e".parse().unwrap();
        assert_eq!(queue.queue_url(Some("http://127.0.0.1:1/")), "http://127.0.0.1:1/000000000000/e");
    }

    #[test]
    fn other_texts_are_no_queues() {
        for arn in [
            "",
            "events",
            "arn:aws:sns:us-east-1:123456789012:events",
            "arn:aws:sqs:us-east-1:123456789012:",
            "arn:aws:sqs:us-east-1:123456789012:.fifo",
            "arn:aws:sqs:us-east-1:123456789012:a/b",
            "arn:aws:sqs:us-east-1:123456789012:a:b",
            "arn:aws:sqs:us-east-1:12345:events",
            "arn:aws:sqs::123456789012:events",
            "arn:aws:sqs:us-east-1.attacker.example/:123456789012:events",
            "arn:other:sqs:us-east-1:123456789012:events",
            &format!("arn:aws:sqs:us-east-1:123456789012:{}", "x".repeat(81)),
        ] {
            assert_eq!(arn.parse::<QueueArn>(), Err(InvalidDestination::NotAQueue), "{arn}");
        }
    }

    #[test]
    fn a_stored_subscription_has_one_destination() {
        let (url, arn) = (Some("https://a.example/"), Some("arn:aws:sqs:us-east-1:123456789012:e"));
        assert!(matches!(Destination::stored(url, None), Ok(Destination::Url(_))));
        assert!(matches!(Destination::stored(None, arn), Ok(Destination::Queue(_))));
        for both_or_none in [(url, arn), (None, None)] {
            let stored = Destination::stored(both_or_none.0, both_or_none.1);
            assert_eq!(stored, Err(InvalidDestination::NotExactlyOne));
        }
    }

    #[test]
    fn debug_output_has_no_query() {
        let destination = Destination::url("https://a.example/hook?token=s3cret").unwrap();
        assert_eq!(format!("{destination:?}"), "Url(a.example)");
    }
}
