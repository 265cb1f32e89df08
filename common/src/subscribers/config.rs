//! Configuration of sending to subscribers.

use super::destination::{Destination, QueueArn};
use super::forbidden::Forbidden;
use crate::addresses;
use crate::config::Env;

/// Which destinations are allowed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubscribersConfig {
    pub(super) allow_loopback: bool,
    queues: Vec<String>,
}

impl SubscribersConfig {
    /// Reads `SUBSCRIBERS_ALLOW_LOOPBACK` (false): whether subscribers may be on this machine, with or without TLS, for
    /// development only; and `SUBSCRIBER_QUEUE_ARNS` (none): the queues that a subscription may have as its
    /// destination, separated by commas. `*` stands for any characters.
    pub fn from_env(env: &mut Env<'_>) -> Option<Self> {
        let allow_loopback = env.parse_or("SUBSCRIBERS_ALLOW_LOOPBACK", false);
        let queues = env.optional_list("SUBSCRIBER_QUEUE_ARNS");
        Some(Self { allow_loopback: allow_loopback?, queues: queues? })
    }

    /// Allows subscribers on this machine, for tests.
    #[must_use]
    pub fn with_loopback(mut self) -> Self {
        self.allow_loopback = true;
        self
    }

    /// Allows a queue, or those of a pattern.
    #[must_use]
    pub fn with_queue(mut self, pattern: &str) -> Self {
        self.queues.push(pattern.to_owned());
        self
    }

    /// Checks what can be checked without resolving the host.
    pub(super) fn check(&self, destination: &Destination) -> Result<(), Forbidden> {
        match destination {
            Destination::Url(url) => Ok(addresses::check_url(url, self.allow_loopback)?),
            Destination::Queue(arn) => self.check_queue(arn),
        }
    }

    fn check_queue(&self, arn: &QueueArn) -> Result<(), Forbidden> {
        let arn = arn.to_string();
        if self.queues.iter().any(|pattern| matches(pattern, &arn)) { Ok(()) } else { Err(Forbidden::Queue) }
    }
}

/// Returns whether a text matches a pattern, in which `*` stands for any characters.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(text) = text.strip_prefix(start) else { return false };
    text.char_indices()
        .map(|(position, _)| &text[position..])
        .chain([""])
        .any(|remaining| matches(rest, remaining))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(config: &SubscribersConfig, url: &str) -> Result<(), String> {
        let destination = Destination::url(url).map_err(|error| error.to_string())?;
        config.check(&destination).map_err(|error| error.to_string())
    }

    /// Hosts that are, or contain, a forbidden address, by kind.
    const FORBIDDEN: &[(&str, &[&str])] = &[
        ("an unspecified", &["0.0.0.0", "0", "0.1.2.3", "00000000", "0x0", "[::]", "[0:0:0:0:0:0:0:0]"]),
        (
            "a private",
            &[
                "10.0.0.1",
                "10.255.255.255",
                "167772161",       // 10.0.0.1
                "0xa000001",       // 10.0.0.1
                "012.0.0.1",       // octal 10
                "0xA.0x0.0x0.0x1", // 10.0.0.1
                "10.1",
                "10.0.0.1.",
                "172.16.0.1",
                "172.31.255.255",
                "2886729729", // 172.16.0.1
                "192.168.0.1",
                "192.168.257", // 192.168.1.1
                "0300.0250.1.1",
                "１０.0.0.1",     // full-width digits
                "192。168。0。1", // ideographic full stops
                "[fc00::1]",
                "[fd00:ec2::254]",
                "[fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]",
            ],
        ),
        ("a shared (CGNAT)", &["100.64.0.1", "100.127.255.255", "100.100.100.200", "1681915905"]),
        (
            "a loopback",
            &[
                "127.0.0.1",
                "127.255.255.254",
                "127.1",
                "127.0.1",
                "2130706433",
                "0x7f000001",
                "0x7f.1",
                "0177.0.0.1",
                "017700000001",
                "127.0.0.1.",
                "①②⑦.0.0.1", // circled digits
                "%31%32%37.0.0.1",
                "[::1]",
                "[0000:0000:0000:0000:0000:0000:0000:0001]",
            ],
        ),
        ("a metadata", &["168.63.129.16"]),
        (
            "a link-local or metadata",
            &[
                "169.254.169.254",
                "2852039166",
                "0xa9fea9fe",
                "0251.0376.0251.0376",
                "169.254.43518",
                "169.254.170.2",
            ],
        ),
        ("a protocol", &["192.0.0.1", "192.0.0.192", "[2001:1::1]", "[2001:20::1]"]),
        ("a documentation", &["192.0.2.1", "198.51.100.1", "203.0.113.255", "[2001:db8::1]", "[3fff::1]"]),
        ("a 6to4", &["192.88.99.1", "[2002:7f00:1::]", "[2002:a00:1::1]", "[2002:808:808::1]"]),
        ("a benchmarking", &["198.18.0.1", "198.19.255.255"]),
        ("a multicast", &["224.0.0.1", "239.255.255.255", "[ff02::1]", "[ff0e::1]"]),
        ("a broadcast", &["255.255.255.255", "4294967295", "0xffffffff"]),
        ("a reserved", &["240.0.0.1", "255.255.255.254", "[4000::1]", "[1::1]", "[8000::]"]),
        (
            "an IPv4-mapped",
            &[
                "[::ffff:127.0.0.1]",
                "[::ffff:7f00:1]",
                "[::FFFF:10.0.0.1]",
                "[::ffff:8.8.8.8]",
                "[::ffff:a9fe:a9fe]",
            ],
        ),
        ("an IPv4-translated", &["[::ffff:0:127.0.0.1]"]),
        ("an IPv4-compatible", &["[::127.0.0.1]", "[::a00:1]", "[::2]"]),
        (
            "a NAT64",
            &["[64:ff9b::7f00:1]", "[64:ff9b::10.0.0.1]", "[64:ff9b::8.8.8.8]", "[64:ff9b:1::a00:1]"],
        ),
        ("a discard-only", &["[100::1]"]),
        ("a Teredo", &["[2001:0:7f00:1::]", "[2001::1]"]),
        ("a segment routing", &["[5f00::1]"]),
        ("a link-local", &["[fe80::1]", "[febf::1]"]),
        ("a site-local", &["[fec0::1]", "[feff::1]"]),
    ];

    #[test]
    fn every_spelling_of_a_forbidden_address_is_refused() {
        let spellings: usize = FORBIDDEN.iter().map(|(_, hosts)| hosts.len()).sum();
        assert!(spellings >= 60, "{spellings} spellings");
        let config = SubscribersConfig::default();
        for (kind, hosts) in FORBIDDEN {
            for host in *hosts {
                let expected = format!("must have public addresses only, but the host has {kind} address");
                for url in [format!("https://{host}/"), format!("https://{host}:8443/a?b")] {
                    assert_eq!(check(&config, &url), Err(expected.clone()), "{url}");
                }
            }
        }
    }

    #[test]
    fn loopback_addresses_are_the_only_ones_that_development_adds() {
        let config = SubscribersConfig::default().with_loopback();
        for (kind, hosts) in FORBIDDEN {
            for host in *hosts {
                let allowed = check(&config, &format!("http://{host}:9000/")).is_ok();
                assert_eq!(allowed, *kind == "a loopback", "{host}");
            }
        }
        assert_eq!(check(&config, "http://localhost:9000/"), Ok(()));
        for url in ["http://subscriber.example/", "http://8.8.8.8/", "http://localhost.example/"] {
            assert_eq!(check(&config, url), Err("must be an https URL".to_owned()), "{url}");
        }
    }

    #[test]
    fn public_addresses_and_names_are_allowed() {
        let config = SubscribersConfig::default();
        for host in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "134744072", // 8.8.8.8
            "169.253.255.255",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "198.20.0.0",
            "223.255.255.255",
            "[2600::1]",
            "[2a00:1450:4001::1]",
            "[2001:4860:4860::8888]",
            "[2003::1]",
            "subscriber.example",
            // Their addresses are checked when they are resolved.
            "localhost",
            "bücher.example",
        ] {
            assert_eq!(check(&config, &format!("https://{host}/")), Ok(()), "{host}");
        }
    }

    #[test]
    fn hosts_that_are_not_hosts_are_no_urls() {
        for host in [
            "[fe80::1%25eth0]",
            "[fe80::1%eth0]",
            "[::1",
            "1.2.3.4.5",
            "256.0.0.1",
            "0x100000000",
            "",
            "a b",
            "127.0.0.08",
        ] {
            assert!(Destination::url(&format!("https://{host}/")).is_err(), "{host}");
        }
    }

    #[test]
    fn only_https_without_credentials_and_fragment() {
        let config = SubscribersConfig::default();
        let long = format!("https://subscriber.example/{}", "x".repeat(2_048));
        for (url, reason) in [
            ("http://subscriber.example/", "must be an https URL"),
            ("ws://subscriber.example/", "must be an https URL"),
            ("gopher://subscriber.example/", "must be an https URL"),
            ("file:///etc/passwd", "must be an https URL with a host and without spaces"),
            ("mailto:a@subscriber.example", "must be an https URL with a host and without spaces"),
            ("https://subscriber.example/\n", "must be an https URL with a host and without spaces"),
            ("subscriber.example", "must be an https URL: relative URL without a base"),
            ("https://user@subscriber.example/", "must not contain credentials; requests are signed instead"),
            ("https://:key@subscriber.example/", "must not contain credentials; requests are signed instead"),
            ("https://subscriber.example/#a", "must not contain a fragment (#)"),
            (&long, "must have at most 2048 characters"),
        ] {
            assert_eq!(check(&config, url), Err(reason.to_owned()), "{url}");
        }
        // The host is what the connector uses, not what a reader may take for it.
        let deceptive = Destination::url("https://subscriber.example\\@127.0.0.1/").unwrap();
        let Destination::Url(url) = deceptive else { panic!("a URL") };
        assert_eq!(url.host_str(), Some("subscriber.example"));
    }

    #[test]
    fn a_queue_must_match_a_configured_pattern() {
        let arn = Destination::queue("arn:aws:sqs:eu-west-1:123456789012:events").unwrap();
        for (pattern, is_allowed) in [
            ("arn:aws:sqs:eu-west-1:123456789012:events", true),
            ("arn:aws:sqs:eu-west-1:123456789012:*", true),
            ("arn:aws:sqs:*:*:events", true),
            ("*", true),
            ("arn:aws:sqs:*:*:events*", true),
            ("arn:aws:sqs:eu-west-1:123456789012:event", false),
            ("arn:aws:sqs:eu-west-1:210987654321:*", false),
            ("events", false),
            ("", false),
        ] {
            let config = SubscribersConfig::default().with_queue(pattern);
            assert_eq!(config.check(&arn).is_ok(), is_allowed, "{pattern}");
        }
        assert_eq!(SubscribersConfig::default().check(&arn), Err(Forbidden::Queue));
    }

    #[test]
    fn the_environment_is_read() {
        let variables = [("SUBSCRIBERS_ALLOW_LOOPBACK", "true"), ("SUBSCRIBER_QUEUE_ARNS", "arn:a, arn:b")];
        let lookup =
            |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        let config = SubscribersConfig::from_env(&mut Env::new(&lookup));
        let expected = SubscribersConfig::default().with_loopback().with_queue("arn:a").with_queue("arn:b");
        assert_eq!(config, Some(expected));
        assert_eq!(SubscribersConfig::from_env(&mut Env::new(&|_| None)), Some(SubscribersConfig::default()));
        assert_eq!(SubscribersConfig::from_env(&mut Env::new(&|_| Some("maybe".to_owned()))), None);
    }
}
