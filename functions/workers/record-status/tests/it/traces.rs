//! Traces of a batch.

use crate::{NO_QUEUE, batch, record};
use serde_json::json;
use testing::{Collector, Database, Exported, Function};

const ONE: &str = "00-11111111111111111111111111111111-00f067aa0ba902b7-01";
const OTHER: &str = "00-22222222222222222222222222222222-00f067aa0ba902b8-01";
const SAME_AS_OTHER: &str = "00-22222222222222222222222222222222-00f067aa0ba902b9-01";

/// Processes a callback for each parent and returns the spans of the invocation: the first one, and those of records.
async fn process(parents: &[&str]) -> (Exported, Vec<Exported>, Vec<Exported>) {
    let (database, collector) = (Database::create().await, Collector::start().await);
    let variables = [
        ("DATABASE_URL", database.url()),
        ("STATUS_QUEUE_URL", NO_QUEUE.to_owned()),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url().to_owned()),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "20000".to_owned()),
    ];
    let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut function = Function::start(crate::BINARY, &variables).await;
    let forms: Vec<_> =
        (0..parents.len()).map(|number| format!("MessageSid=SM{number}&MessageStatus=sent")).collect();
    let mut event = batch(&forms.iter().map(|form| (form.as_str(), String::new())).collect::<Vec<_>>());
    for (position, parent) in parents.iter().enumerate() {
        let attribute = json!({"dataType": "String", "stringValue": parent});
        event["Records"][position]["messageAttributes"]["traceparent"] = attribute;
    }
    record(&mut function, event).await;
    let is_shared = |span: &Exported| span.attribute("faas.trigger") == "pubsub";
    let shared = collector.span("the span of the batch", is_shared).await;
    let (records, statements): (Vec<_>, Vec<_>) = collector
        .spans()
        .into_iter()
        .filter(|span| !is_shared(span))
        .partition(|span| span.name.starts_with("process"));
    (shared, records, statements)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_one_record_continues_its_trace() {
    let (shared, records, statements) = process(&[ONE]).await;
    assert_eq!(
        (shared.traceparent()[..36].to_owned(), shared.parent_id.as_str()),
        (ONE[..36].to_owned(), &ONE[36..52])
    );
    assert_eq!((shared.links.len(), records.len()), (0, 0));
    assert_eq!(shared.attribute("messaging.batch.message_count"), "1");
    assert!(!statements.is_empty() && statements.iter().all(|statement| statement.is_child_of(&shared)));
    let statement = &statements[0];
    assert_eq!(statement.attribute("db.system.name"), "postgresql");
    assert_eq!(statement.attribute("db.operation.name"), "record status callbacks");
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_several_traces_have_spans_of_their_own_that_link_to_the_shared_work() {
    let (shared, mut records, statements) = process(&[ONE, OTHER]).await;
    assert_eq!(shared.parent_id, "");
    assert_eq!(shared.links, [&ONE[36..52], &OTHER[36..52]]);
    assert!(!statements.is_empty() && statements.iter().all(|statement| statement.is_child_of(&shared)));
    records.sort_by(|one, other| one.trace_id.cmp(&other.trace_id));
    for (record, parent) in records.iter().zip([ONE, OTHER]) {
        assert_eq!(record.traceparent()[..36], parent[..36]);
        assert_eq!(record.parent_id, parent[36..52]);
        assert_eq!(record.links, [shared.span_id.as_str()]);
    }
    assert_eq!(records.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_one_trace_keep_the_shared_work_in_it() {
    let (shared, records, _) = process(&[OTHER, SAME_AS_OTHER]).await;
    assert_eq!(shared.traceparent()[..36], OTHER[..36]);
    assert_eq!(shared.links.len(), 2);
    let mut parents: Vec<_> = records.iter().map(|record| record.parent_id.as_str()).collect();
    parents.sort_unstable();
    assert_eq!(parents, [&OTHER[36..52], &SAME_AS_OTHER[36..52]]);
}
