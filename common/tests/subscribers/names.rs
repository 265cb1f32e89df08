//! Names whose addresses change, or are mixed.

use crate::{LONG, SHORT, TOLERANCE, deliver};
use common::subscribers::{Outcome, Subscribers, SubscribersConfig};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use testing::Receiver;

/// A name server with an answer per query; the last one remains.
struct Names {
    answers: Mutex<Vec<Vec<IpAddr>>>,
    queries: Mutex<Vec<String>>,
}

impl Names {
    fn new(answers: &[&[&str]]) -> Arc<Self> {
        let answer = |answer: &&[&str]| answer.iter().map(|address| address.parse().unwrap()).collect();
        let answers = Mutex::new(answers.iter().map(answer).collect());
        Arc::new(Self { answers, queries: Mutex::default() })
    }

    fn queries(&self) -> Vec<String> {
        self.queries.lock().unwrap().clone()
    }
}

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        self.queries.lock().unwrap().push(name.as_str().to_owned());
        let mut answers = self.answers.lock().unwrap();
        let answer = if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() };
        Box::pin(async move {
            Ok(Box::new(answer.into_iter().map(|address| SocketAddr::new(address, 0))) as Addrs)
        })
    }
}

fn subscribers(names: &Arc<Names>, config: &SubscribersConfig) -> Subscribers {
    let names: Arc<dyn Resolve> = Arc::<Names>::clone(names);
    Subscribers::with(config, names, common::tls::with_system_roots().unwrap()).unwrap()
}

/// Without TLS, only `localhost` is allowed. The resolver of these tests decides what that is.
fn url(receiver: &Receiver) -> String {
    format!("http://localhost:{}/hook", receiver.port())
}

#[tokio::test]
async fn a_name_is_resolved_once_per_connection_and_its_checked_address_is_used() {
    let receiver = Receiver::start().await;
    // After the first answer the name points to another machine, as in a rebinding attack.
    let names = Names::new(&[&["127.0.0.1"], &["10.0.0.1"]]);
    let subscribers = subscribers(&names, &SubscribersConfig::default().with_loopback());
    receiver.reply(200, &[("connection", "close")], "");
    assert_eq!(deliver(&subscribers, &url(&receiver), LONG).await.outcome, Outcome::Delivered);
    assert_eq!(names.queries(), ["localhost"], "the connector used the address that was checked");

    let second = deliver(&subscribers, &url(&receiver), LONG).await;
    assert_eq!(second.outcome, Outcome::Unavailable);
    let error = "the destination must have public addresses only, but the host has a private address";
    assert_eq!(second.error.as_deref(), Some(error));
    assert_eq!((names.queries().len(), receiver.received().len()), (2, 1));
}

#[tokio::test]
async fn a_refused_name_is_checked_again_in_the_next_attempt() {
    let receiver = Receiver::start().await;
    let names = Names::new(&[&["169.254.169.254"], &["127.0.0.1"]]);
    let subscribers = subscribers(&names, &SubscribersConfig::default().with_loopback());
    assert_eq!(deliver(&subscribers, &url(&receiver), LONG).await.outcome, Outcome::Unavailable);
    assert_eq!(deliver(&subscribers, &url(&receiver), LONG).await.outcome, Outcome::Delivered);
}

#[tokio::test]
async fn one_forbidden_address_among_several_refuses_a_name() {
    let receiver = Receiver::start().await;
    for answer in [
        &["127.0.0.1", "10.0.0.1"][..],
        &["10.0.0.1", "127.0.0.1"],
        &["127.0.0.1", "::1", "fd00:ec2::254"],
        &["fe80::1", "127.0.0.1"],
        &["127.0.0.1", "::ffff:127.0.0.1"],
        &["127.0.0.1", "64:ff9b::7f00:1"],
        &["8.8.8.8", "192.168.1.1", "127.0.0.1"],
    ] {
        let subscribers = subscribers(&Names::new(&[answer]), &SubscribersConfig::default().with_loopback());
        let attempt = deliver(&subscribers, &url(&receiver), LONG).await;
        assert_eq!(attempt.outcome, Outcome::Unavailable, "{answer:?}");
        assert!(attempt.error.unwrap().contains("public addresses only"), "{answer:?}");
    }
    assert_eq!(receiver.received().len(), 0, "nothing is connected to, not even the allowed address");

    let both =
        subscribers(&Names::new(&[&["::1", "127.0.0.1"]]), &SubscribersConfig::default().with_loopback());
    assert_eq!(deliver(&both, &url(&receiver), LONG).await.outcome, Outcome::Delivered);
}

#[tokio::test]
async fn names_of_loopback_addresses_are_refused_by_default() {
    let receiver = Receiver::start().await;
    for answer in [&["127.0.0.1"][..], &["::1"], &["127.8.8.8"]] {
        let names = Names::new(&[answer]);
        let subscribers = subscribers(&names, &SubscribersConfig::default());
        let to = format!("https://subscriber.example:{}/hook", receiver.port());
        let attempt = deliver(&subscribers, &to, LONG).await;
        let error = "the destination must have public addresses only, but the host has a loopback address";
        assert_eq!(attempt.error.as_deref(), Some(error));
        assert_eq!(names.queries(), ["subscriber.example"]);
    }
}

#[tokio::test]
async fn a_name_server_that_does_not_respond_ends_at_the_deadline() {
    struct Silent;
    impl Resolve for Silent {
        fn resolve(&self, _: Name) -> Resolving {
            Box::pin(std::future::pending())
        }
    }
    let tls = common::tls::with_system_roots().unwrap();
    let subscribers = Subscribers::with(&SubscribersConfig::default(), Arc::new(Silent), tls).unwrap();
    let attempt = deliver(&subscribers, "https://subscriber.example/", SHORT).await;
    assert_eq!(attempt.outcome, Outcome::TimedOut);
    assert!((SHORT..SHORT + TOLERANCE).contains(&attempt.duration), "{:?}", attempt.duration);
}

#[tokio::test]
async fn an_unknown_name_is_unavailable() {
    struct Unknown;
    impl Resolve for Unknown {
        fn resolve(&self, _: Name) -> Resolving {
            Box::pin(async { Err("no such host".into()) })
        }
    }
    let tls = common::tls::with_system_roots().unwrap();
    let subscribers = Subscribers::with(&SubscribersConfig::default(), Arc::new(Unknown), tls).unwrap();
    let attempt = deliver(&subscribers, "https://subscriber.example/?token=s3cret", LONG).await;
    assert_eq!(attempt.outcome, Outcome::Unavailable);
    let error = attempt.error.unwrap();
    assert!(error.contains("no such host") && !error.contains("s3cret"), "{error}");
}
