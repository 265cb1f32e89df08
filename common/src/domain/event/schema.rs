//! JSON schemas of the bodies, one per type and version.

use super::{
    BatchCompleted, EventType, LanguageChanged, MediaStored, MessageFailed, MessageReceived, MessageStatus,
    NumberDeactivated, OptOutSuspected, OptedIn, OptedOut, SubscriptionDisabled, SubscriptionWarning,
    TenantIdentified,
};
use utoipa::PartialSchema;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{RefOr, Schema};

/// Returns the JSON schema of the bodies of a type. It has no references.
#[must_use]
pub fn schema(of: EventType) -> Schema {
    let body = ObjectBuilder::new()
        .title(Some(format!("{of}, version {}", of.version())))
        .description(Some(of.description()))
        .property("id", text("Id of the event, the same in every delivery.").format(uuid()))
        .property("type", text("Type of the event.").enum_values(Some([of.as_str()])))
        .property(
            "timestamp",
            text("When the change was made.").format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime))),
        );
    let (body, required) = if of.is_about_conversation() {
        (
            conversation(body),
            &["id", "type", "timestamp", "conversation_id", "conversation_sequence", "data"][..],
        )
    } else {
        (body, &["id", "type", "timestamp", "data"][..])
    };
    required.iter().copied().fold(body.property("data", data(of)), ObjectBuilder::required).into()
}

/// Adds the fields of an event of a conversation.
fn conversation(body: ObjectBuilder) -> ObjectBuilder {
    body.property("conversation_id", text("Conversation id.").format(uuid()))
        .property(
            "conversation_sequence",
            ObjectBuilder::new()
                .schema_type(Type::Integer)
                .minimum(Some(1))
                .description(Some("Number of the event in its conversation: 1, 2, 3 … without gaps.")),
        )
        .property("message_id", text("Message id, if the event is about one message.").format(uuid()))
        .property("tenant_id", text("Tenant of the conversation, if it is known."))
        .property(
            "workflow_type",
            text("Workflow of the message, or else of the conversation, if there is one."),
        )
}

fn text(description: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).description(Some(description))
}

fn uuid() -> Option<SchemaFormat> {
    Some(SchemaFormat::KnownFormat(KnownFormat::Uuid))
}

fn data(of: EventType) -> RefOr<Schema> {
    let mut data = match of {
        EventType::MessageReceived => MessageReceived::schema(),
        EventType::MessageStatus => MessageStatus::schema(),
        EventType::MessageFailed => MessageFailed::schema(),
        EventType::MediaStored => MediaStored::schema(),
        EventType::TenantIdentified => TenantIdentified::schema(),
        EventType::LanguageChanged => LanguageChanged::schema(),
        EventType::OptedOut => OptedOut::schema(),
        EventType::OptedIn => OptedIn::schema(),
        EventType::OptOutSuspected => OptOutSuspected::schema(),
        EventType::NumberDeactivated => NumberDeactivated::schema(),
        EventType::BatchCompleted => BatchCompleted::schema(),
        EventType::SubscriptionWarning => SubscriptionWarning::schema(),
        EventType::SubscriptionDisabled => SubscriptionDisabled::schema(),
    };
    if let RefOr::T(Schema::Object(data)) = &mut data {
        data.properties.values_mut().for_each(describe_enum);
    }
    data
}

/// Replaces the `allOf` that utoipa writes for an inlined enum with a description. It also demands an object, so no
/// value would be valid.
fn describe_enum(property: &mut RefOr<Schema>) {
    let RefOr::T(Schema::AllOf(all)) = property else { return };
    if let [RefOr::T(Schema::Object(values)), RefOr::T(Schema::Object(field))] = all.items.as_mut_slice() {
        values.description = field.description.take();
        *property = RefOr::T(values.clone().into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// `UPDATE_SCHEMAS=1 cargo test -p common schemas` writes the files.
    #[test]
    fn the_published_schemas_are_those_of_the_types() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/events");
        let mut expected = Vec::new();
        for of in EventType::ALL {
            let name = format!("{of}.v{}.json", of.version());
            let mut document = serde_json::json!({"$schema": "https://json-schema.org/draft/2020-12/schema"});
            let schema = serde_json::to_value(schema(of)).unwrap();
            document.as_object_mut().unwrap().extend(schema.as_object().unwrap().clone());
            let text = format!("{document:#}\n");
            if std::env::var_os("UPDATE_SCHEMAS").is_some() {
                std::fs::write(folder.join(&name), &text).unwrap();
            }
            let published = std::fs::read_to_string(folder.join(&name)).unwrap_or_default();
            assert_eq!(published, text, "{name}: a new version is needed unless only fields were added");
            assert!(!text.contains("$ref") && !text.contains("allOf"), "{name} is not readable by itself");
            expected.push(name);
        }
        // Older versions stay published.
        let listed: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        assert!(expected.iter().all(|name| listed.contains(name)), "{listed:?}");
    }
}
