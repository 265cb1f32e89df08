//! Access to the stack's database, queues and functions.

use std::collections::BTreeMap;

use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_sqs::types::QueueAttributeName;
use serde_json::Value;
use tokio_postgres::types::ToSql;
use tokio_postgres::{NoTls, Row};

use super::{request, send_request};
use crate::stack::{Stack, eventually};

impl Stack {
    /// Connects to the database.
    pub async fn sql(&self) -> Sql {
        Sql::connect(self.database_url()).await
    }

    /// Returns an SQS client.
    pub fn sqs(&self, endpoint: &str) -> aws_sdk_sqs::Client {
        let config = aws_sdk_sqs::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("local", "local", None, None, "test"))
            .endpoint_url(endpoint)
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .build();
        aws_sdk_sqs::Client::from_conf(config)
    }

    /// Returns the endpoint of the SQS server.
    pub fn sqs_endpoint(&self) -> String {
        let url = url::Url::parse(self.info.queues.values().next().unwrap()).unwrap();
        url.origin().ascii_serialization()
    }

    /// Returns the number of messages per queue, without empty queues.
    pub async fn queue_sizes(&self) -> BTreeMap<String, i64> {
        use QueueAttributeName as Name;
        let counts = [
            Name::ApproximateNumberOfMessages,
            Name::ApproximateNumberOfMessagesNotVisible,
            Name::ApproximateNumberOfMessagesDelayed,
        ];
        let client = self.sqs(&self.sqs_endpoint());
        let mut queued = BTreeMap::new();
        for (name, url) in &self.info.queues {
            let request = client.get_queue_attributes().queue_url(url).attribute_names(Name::All);
            let response = request.send().await.unwrap();
            let count = |name| response.attributes()?.get(name)?.parse::<i64>().ok();
            let total: i64 = counts.iter().filter_map(count).sum();
            if total > 0 {
                queued.insert(name.clone(), total);
            }
        }
        queued
    }

    /// Waits until all queues are empty, including dead-letter queues.
    pub async fn wait_for_empty_queues(&self) {
        self.wait_for_queues(&[]).await;
    }

    /// Waits until the queues have exactly these numbers of messages.
    pub async fn wait_for_queues(&self, expected: &[(&str, i64)]) {
        let expected: BTreeMap<String, i64> =
            expected.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        let mut last = BTreeMap::new();
        let settled = tokio::time::timeout(crate::stack::DEADLINE, async {
            loop {
                last = self.queue_sizes().await;
                if last == expected {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        });
        assert!(
            settled.await.is_ok(),
            "timed out waiting until the queues have {expected:?}; they have {last:?}"
        );
    }

    /// Invokes a function, as an operator does.
    pub async fn invoke(&self, function: &str, payload: Value) -> Value {
        let url = format!("{}/2015-03-31/functions/{function}/invocations", self.info.aws_endpoint_url);
        send_request(request("POST", &url).json(&payload)).await.json()
    }

    /// Waits for a number of runs of `retry-sends` that start after this call.
    pub async fn wait_for_sweeps(&self, times: u32) {
        let count = async || {
            let metrics = send_request(request("GET", &format!("{}/metrics", self.info.api_url))).await.text;
            let line = "lambda_invocations_total{function=\"retry-sends\"} ";
            metrics.lines().find_map(|text| text.strip_prefix(line)?.parse::<f64>().ok()).unwrap_or(0.0)
        };
        // A run may be in progress.
        let until = count().await + f64::from(times) + 1.0;
        eventually("retry-sends has run", async || (count().await >= until).then_some(())).await;
    }
}

/// A connection to a stack's database.
pub struct Sql {
    pub client: tokio_postgres::Client,
}

impl Sql {
    pub async fn connect(url: &str) -> Self {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
        tokio::spawn(connection);
        Self { client }
    }

    pub async fn row(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Row {
        self.client.query_one(sql, parameters).await.unwrap()
    }

    /// Returns a count.
    pub async fn count(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> i64 {
        self.row(sql, parameters).await.get(0)
    }

    /// Waits until a count has the expected value.
    pub async fn wait_for_count(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)], expected: i64) {
        eventually(&format!("{sql} returns {expected}"), async || {
            (self.count(sql, parameters).await == expected).then_some(())
        })
        .await;
    }
}

/// Counts a handset's inbound messages.
pub const INBOUND_OF: &str =
    "select count(*) from sms_messages where direction = 'inbound' and from_number = $1";
