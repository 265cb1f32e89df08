//! The SQS actions.

use std::time::{Duration, Instant};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::attributes::{attribute, defaults, validate};
use super::batches::{Entry, batch, entries};
use super::message::{MAX_MESSAGE_BYTES, Outgoing, md5_of_attributes, md5_of_body};
use super::store::{NewMessage, QueueAttributes, Received, redrive};
use super::{Sqs, SqsError};
use crate::clock;

/// The longest visibility timeout, in seconds.
const MAX_VISIBILITY_SECONDS: i64 = 43_200;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Queue {
    queue_url: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Named {
    queue_name: Option<String>,
    #[serde(default)]
    attributes: QueueAttributes,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Names {
    queue_name_prefix: Option<String>,
    #[serde(default)]
    attribute_names: Vec<String>,
    #[serde(default)]
    attributes: QueueAttributes,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Receive {
    max_number_of_messages: Option<i64>,
    visibility_timeout: Option<i64>,
    wait_time_seconds: Option<i64>,
    #[serde(default)]
    attribute_names: Vec<String>,
    #[serde(default)]
    message_system_attribute_names: Vec<String>,
    #[serde(default)]
    message_attribute_names: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Handle {
    #[serde(default)]
    id: String,
    receipt_handle: Option<String>,
    visibility_timeout: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Move {
    source_arn: Option<String>,
    destination_arn: Option<String>,
}

impl Entry for Handle {
    fn id(&self) -> &str {
        &self.id
    }
}

impl Sqs {
    pub(super) async fn act(&self, action: &str, input: Value) -> Result<Value, SqsError> {
        match action {
            "CreateQueue" => self.create_queue(parse(input)?),
            "ListQueues" => self.list_queues(&parse(input)?),
            "GetQueueUrl" => self.queue_url(parse(input)?),
            "StartMessageMoveTask" => self.move_messages(parse(input)?),
            _ => {
                let queue = self.queue(&input)?;
                self.act_on(action, &queue, input).await
            }
        }
    }

    async fn act_on(&self, action: &str, queue: &str, input: Value) -> Result<Value, SqsError> {
        match action {
            "SendMessage" => self.send(queue, &parse(input)?),
            "SendMessageBatch" => {
                let entries = entries::<Outgoing>(input, "SendMessageBatch")?;
                let sent = entries.iter().map(Outgoing::size).sum();
                if sent > MAX_MESSAGE_BYTES {
                    return Err(SqsError::BatchRequestTooLong { limit: MAX_MESSAGE_BYTES, sent });
                }
                Ok(batch(&entries, |entry| self.send(queue, entry)))
            }
            "ReceiveMessage" => self.receive(queue, parse(input)?).await,
            "DeleteMessage" => self.delete(queue, &parse(input)?).map(|_| Value::Null),
            "DeleteMessageBatch" => {
                let entries = entries::<Handle>(input, "DeleteMessageBatch")?;
                Ok(batch(&entries, |entry| self.delete(queue, entry)))
            }
            "ChangeMessageVisibility" => self.change_visibility(queue, &parse(input)?).map(|_| Value::Null),
            "ChangeMessageVisibilityBatch" => {
                let entries = entries::<Handle>(input, "ChangeMessageVisibilityBatch")?;
                Ok(batch(&entries, |entry| self.change_visibility(queue, entry)))
            }
            "GetQueueAttributes" => self.queue_attributes(queue, &parse::<Names>(input)?.attribute_names),
            "SetQueueAttributes" => {
                let mut attributes = self.store().attributes(queue)?.0;
                attributes.extend(validate(parse::<Names>(input)?.attributes)?);
                self.store().put_queue(queue, &attributes).map(|()| Value::Null)
            }
            "PurgeQueue" => self.store().purge(queue).map(|()| Value::Null),
            "DeleteQueue" => self.store().delete_queue(queue).map(|()| Value::Null),
            other => Err(SqsError::UnsupportedOperation(other.to_owned())),
        }
    }

    /// Returns the name of the queue in `QueueUrl`, which must exist.
    fn queue(&self, input: &Value) -> Result<String, SqsError> {
        let url = Queue::deserialize(input).ok().and_then(|queue| queue.queue_url);
        let url = url.filter(|url| !url.is_empty()).ok_or(SqsError::MissingParameter("QueueUrl"))?;
        let name = url.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        self.store().attributes(name)?;
        Ok(name.to_owned())
    }

    fn create_queue(&self, input: Named) -> Result<Value, SqsError> {
        let name = input.queue_name.ok_or(SqsError::MissingParameter("QueueName"))?;
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || name.len() > 80 || !name.chars().all(is_name) {
            let reason =
                "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length";
            return Err(SqsError::InvalidParameterValue(reason.to_owned()));
        }
        let attributes = validate(input.attributes)?;
        let store = self.store();
        match store.attributes(&name) {
            Ok((existing, _)) => {
                let differs = attributes.iter().find(|(key, value)| existing.get(*key) != Some(value));
                if let Some((key, _)) = differs {
                    return Err(SqsError::QueueNameExists(key.clone()));
                }
            }
            Err(SqsError::QueueDoesNotExist) => {
                let mut all = defaults();
                all.extend(attributes);
                store.put_queue(&name, &all)?;
            }
            Err(error) => return Err(error),
        }
        Ok(json!({ "QueueUrl": self.url(&name) }))
    }

    fn list_queues(&self, input: &Names) -> Result<Value, SqsError> {
        let prefix = input.queue_name_prefix.as_deref().unwrap_or_default();
        let names = self.store().queues()?;
        let urls: Vec<_> =
            names.iter().filter(|name| name.starts_with(prefix)).map(|name| self.url(name)).collect();
        Ok(json!({ "QueueUrls": urls }))
    }

    fn queue_url(&self, input: Named) -> Result<Value, SqsError> {
        let name = input.queue_name.ok_or(SqsError::MissingParameter("QueueName"))?;
        self.store().attributes(&name)?;
        Ok(json!({ "QueueUrl": self.url(&name) }))
    }

    fn queue_attributes(&self, queue: &str, names: &[String]) -> Result<Value, SqsError> {
        let (mut attributes, created_ms) = self.store().attributes(queue)?;
        let [visible, in_flight, delayed] = self.store().counts(queue)?;
        let computed = [
            ("ApproximateNumberOfMessages", visible.to_string()),
            ("ApproximateNumberOfMessagesNotVisible", in_flight.to_string()),
            ("ApproximateNumberOfMessagesDelayed", delayed.to_string()),
            ("CreatedTimestamp", (created_ms / 1000).to_string()),
            ("LastModifiedTimestamp", (created_ms / 1000).to_string()),
            ("QueueArn", self.arn(queue)),
        ];
        attributes.extend(computed.map(|(key, value)| (key.to_owned(), value)));
        if !names.iter().any(|name| name == "All") {
            attributes.retain(|key, _| names.contains(key));
        }
        Ok(json!({ "Attributes": attributes }))
    }

    fn send(&self, queue: &str, message: &Outgoing) -> Result<Value, SqsError> {
        let attributes = self.store().attributes(queue)?.0;
        let limit = attribute(&attributes, "MaximumMessageSize");
        let body = message.validate(usize::try_from(limit).unwrap_or(MAX_MESSAGE_BYTES))?;
        let delay = message.delay_seconds.unwrap_or_else(|| attribute(&attributes, "DelaySeconds"));
        let trace = message.message_system_attributes.get("AWSTraceHeader");
        let trace = trace.and_then(|header| header.string_value.as_deref());
        let id = clock::request_id();
        let new = NewMessage {
            id: &id,
            body,
            attributes: &message.message_attributes,
            trace,
            group: message.message_group_id.as_deref(),
            delay_ms: delay * 1000,
        };
        self.store().send(queue, &new)?;
        self.new_message(queue).notify_waiters();
        let mut output = json!({ "MessageId": id, "MD5OfMessageBody": md5_of_body(body) });
        if let Some(md5) = md5_of_attributes(&message.message_attributes) {
            output["MD5OfMessageAttributes"] = md5.into();
        }
        if let Some(md5) = md5_of_attributes(&message.message_system_attributes) {
            output["MD5OfMessageSystemAttributes"] = md5.into();
        }
        Ok(output)
    }

    async fn receive(&self, queue: &str, input: Receive) -> Result<Value, SqsError> {
        let attributes = self.store().attributes(queue)?.0;
        let max = in_range("MaxNumberOfMessages", input.max_number_of_messages.unwrap_or(1), 1, 10)?;
        let wait = input
            .wait_time_seconds
            .unwrap_or_else(|| attribute(&attributes, "ReceiveMessageWaitTimeSeconds"));
        let wait = in_range("WaitTimeSeconds", wait, 0, 20)?;
        let visibility =
            input.visibility_timeout.unwrap_or_else(|| attribute(&attributes, "VisibilityTimeout"));
        let visibility = in_range("VisibilityTimeout", visibility, 0, MAX_VISIBILITY_SECONDS)?;
        let deadline = Instant::now() + Duration::from_secs(u64::try_from(wait).unwrap_or(0));
        let new_message = self.new_message(queue);
        loop {
            let mut woken = std::pin::pin!(new_message.notified());
            woken.as_mut().enable();
            let received = self.store().receive(queue, &attributes, max, visibility * 1000)?;
            if received.is_empty() && Instant::now() < deadline {
                let next = self.store().next_visible_ms(queue)?;
                let until = next.map(|next| u64::try_from(next - clock::now_ms()).unwrap_or(0).max(1));
                let until =
                    until.map_or(deadline, |ms| deadline.min(Instant::now() + Duration::from_millis(ms)));
                tokio::select! {
                    () = woken => {}
                    () = tokio::time::sleep_until(until.into()) => {}
                }
                continue;
            }
            if let Some((dead_letters, _)) = redrive(&attributes) {
                self.new_message(&dead_letters).notify_waiters();
            }
            let messages: Vec<_> =
                received.into_iter().map(|message| self.message_json(message, &input)).collect();
            return Ok(if messages.is_empty() { json!({}) } else { json!({ "Messages": messages }) });
        }
    }

    fn message_json(&self, message: Received, input: &Receive) -> Value {
        let system = || input.attribute_names.iter().chain(&input.message_system_attribute_names);
        let mut system_attributes = Map::new();
        let known = [
            ("ApproximateFirstReceiveTimestamp", Some(message.first_receive_ms.to_string())),
            ("ApproximateReceiveCount", Some(message.receives.to_string())),
            ("SentTimestamp", Some(message.sent_ms.to_string())),
            ("SenderId", Some("AIDALOCALSTACKSENDERID".to_owned())),
            ("AWSTraceHeader", message.trace),
            ("MessageGroupId", message.group),
            ("DeadLetterQueueSourceArn", message.came_from.map(|queue| self.arn(&queue))),
        ];
        for (name, value) in known {
            if let Some(value) = value.filter(|_| system().any(|wanted| wanted == name || wanted == "All")) {
                system_attributes.insert(name.to_owned(), value.into());
            }
        }
        let mut attributes = message.attributes;
        attributes.retain(|name, _| {
            input.message_attribute_names.iter().any(|wanted| match wanted.strip_suffix(".*") {
                Some(prefix) => name.starts_with(prefix),
                None => wanted == "All" || wanted == name,
            })
        });
        let mut json = json!({
            "MessageId": message.id,
            "ReceiptHandle": message.receipt,
            "MD5OfBody": md5_of_body(&message.body),
            "Body": message.body,
        });
        if !system_attributes.is_empty() {
            json["Attributes"] = system_attributes.into();
        }
        if let Some(md5) = md5_of_attributes(&attributes) {
            json["MD5OfMessageAttributes"] = md5.into();
            json["MessageAttributes"] = json!(attributes);
        }
        json
    }

    fn delete(&self, queue: &str, handle: &Handle) -> Result<Value, SqsError> {
        self.store().delete(queue, handle.receipt()?)?;
        Ok(json!({}))
    }

    fn change_visibility(&self, queue: &str, handle: &Handle) -> Result<Value, SqsError> {
        let receipt = handle.receipt()?;
        let seconds = handle.visibility_timeout.ok_or(SqsError::MissingParameter("VisibilityTimeout"))?;
        let seconds = in_range("VisibilityTimeout", seconds, 0, MAX_VISIBILITY_SECONDS)?;
        if !self.store().change_visibility(queue, receipt, seconds * 1000)? {
            return Err(SqsError::MessageNotInflight(receipt.to_owned()));
        }
        self.new_message(queue).notify_waiters();
        Ok(json!({}))
    }

    fn move_messages(&self, input: Move) -> Result<Value, SqsError> {
        let name = |arn: &str| arn.rsplit(':').next().unwrap_or_default().to_owned();
        let source = name(&input.source_arn.ok_or(SqsError::MissingParameter("SourceArn"))?);
        let missing = || {
            SqsError::ResourceNotFound(
                "The resource that you specified for the SourceArn parameter doesn't exist.".to_owned(),
            )
        };
        let store = self.store();
        store.attributes(&source).map_err(|_| missing())?;
        let mut is_dead_letter_queue = false;
        for queue in store.queues()? {
            is_dead_letter_queue |=
                redrive(&store.attributes(&queue)?.0).is_some_and(|(target, _)| target == source);
        }
        if !is_dead_letter_queue {
            let reason = "Source queue must be configured as a Dead Letter Queue.";
            return Err(SqsError::InvalidParameterValue(reason.to_owned()));
        }
        let destination = input.destination_arn.as_deref().map(name);
        store.move_all(&source, destination.as_deref())?;
        let queues = store.queues()?;
        drop(store);
        for queue in queues {
            self.new_message(&queue).notify_waiters();
        }
        Ok(json!({ "TaskHandle": clock::request_id() }))
    }
}

impl Handle {
    /// Returns the receipt handle after checking its format.
    fn receipt(&self) -> Result<&str, SqsError> {
        let receipt = self.receipt_handle.as_deref().ok_or(SqsError::MissingParameter("ReceiptHandle"))?;
        if receipt.len() != 48 || !receipt.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(SqsError::ReceiptHandleIsInvalid(receipt.to_owned()));
        }
        Ok(receipt)
    }
}

pub(super) fn parse<T: DeserializeOwned>(input: Value) -> Result<T, SqsError> {
    serde_path_to_error::deserialize(input)
        .map_err(|error| SqsError::InvalidParameterValue(error.to_string()))
}

fn in_range(name: &str, value: i64, min: i64, max: i64) -> Result<i64, SqsError> {
    if (min..=max).contains(&value) {
        return Ok(value);
    }
    Err(SqsError::InvalidParameterValue(format!(
        "Value {value} for parameter {name} is invalid. Reason: Must be >= {min} and <= {max}, if provided."
    )))
}
