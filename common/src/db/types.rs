//! The Postgres types of parameters, and columns with the values of our own types.

use super::{Json, Type};
use crate::domain::batch::BatchStatus;
use crate::domain::delivery::StreamKind;
use crate::domain::delivery_failure::RecipientEffect;
use crate::domain::event::EventType;
use crate::domain::ids::{
    AttemptId, BatchId, ConversationId, MediaId, MessageId, SubscriptionId, TemplateId,
};
use crate::domain::keywords::OptOut;
use crate::domain::language::Language;
use crate::domain::media::MediaStatus;
use crate::domain::message::{AttemptOutcome, Direction, Priority, Purpose, Status};
use crate::domain::metadata::Metadata;
use crate::domain::month::Month;
use crate::domain::opt_out::{OptOutAction, OptOutSource};
use crate::domain::pace::HoldReason;
use crate::domain::phone::{E164, InboundSender};
use crate::domain::segments::Encoding;
use crate::domain::sender::Sender;
use crate::domain::sids::{AccountSid, MessageSid};
use jiff::Timestamp;
use jiff::civil::Date;
use serde_json::Value;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

/// A Rust type with the Postgres type of its parameters.
pub trait SqlType {
    /// The type of a value.
    const TYPE: Type;
    /// The type of an array of values.
    const ARRAY: Type;
}

/// A value of a parameter.
pub trait SqlParam: Sync {
    /// Returns the value.
    fn as_sql(&self) -> &(dyn ToSql + Sync);

    /// Returns its Postgres type.
    fn sql_type(&self) -> Type;
}

impl<T: SqlType + ToSql + Sync> SqlParam for T {
    fn as_sql(&self) -> &(dyn ToSql + Sync) {
        self
    }

    fn sql_type(&self) -> Type {
        T::TYPE
    }
}

macro_rules! sql_types {
    ($($rust:ty: $type:ident, $array:ident;)+) => {
        $(impl SqlType for $rust {
            const TYPE: Type = Type::$type;
            const ARRAY: Type = Type::$array;
        })+
    };
}

sql_types! {
    bool: BOOL, BOOL_ARRAY;
    i16: INT2, INT2_ARRAY;
    i32: INT4, INT4_ARRAY;
    i64: INT8, INT8_ARRAY;
    f64: FLOAT8, FLOAT8_ARRAY;
    str: TEXT, TEXT_ARRAY;
    String: TEXT, TEXT_ARRAY;
    Sender: TEXT, TEXT_ARRAY;
    E164: TEXT, TEXT_ARRAY;
    InboundSender: TEXT, TEXT_ARRAY;
    AccountSid: TEXT, TEXT_ARRAY;
    MessageSid: TEXT, TEXT_ARRAY;
    Month: TEXT, TEXT_ARRAY;
    [u8]: BYTEA, BYTEA_ARRAY;
    Uuid: UUID, UUID_ARRAY;
    Timestamp: TIMESTAMPTZ, TIMESTAMPTZ_ARRAY;
    Date: DATE, DATE_ARRAY;
    Value: JSONB, JSONB_ARRAY;
    Metadata: JSONB, JSONB_ARRAY;
}

impl<T> SqlType for Json<T> {
    const TYPE: Type = Type::JSONB;
    const ARRAY: Type = Type::JSONB_ARRAY;
}

impl<T: SqlType + ?Sized> SqlType for &T {
    const TYPE: Type = T::TYPE;
    const ARRAY: Type = T::ARRAY;
}

impl<T: SqlType> SqlType for Option<T> {
    const TYPE: Type = T::TYPE;
    const ARRAY: Type = T::ARRAY;
}

impl<T: SqlType> SqlType for [T] {
    const TYPE: Type = T::ARRAY;
    const ARRAY: Type = T::ARRAY;
}

impl<T: SqlType> SqlType for Vec<T> {
    const TYPE: Type = T::ARRAY;
    const ARRAY: Type = T::ARRAY;
}

/// Reads and writes types as another type: `Ours as Theirs: (to, from)`. An unknown value is an error of its row.
macro_rules! stored_as {
    ($ours:ty, $theirs:ty, |$value:ident| $to:expr, |$stored:ident| $from:expr) => {
        impl tokio_postgres::types::ToSql for $ours {
            fn to_sql(
                &self,
                r#type: &$crate::db::Type,
                out: &mut bytes::BytesMut,
            ) -> Result<tokio_postgres::types::IsNull, Box<dyn std::error::Error + Sync + Send>> {
                let $value = self;
                tokio_postgres::types::ToSql::to_sql(&$to, r#type, out)
            }

            fn accepts(r#type: &$crate::db::Type) -> bool {
                <$theirs as tokio_postgres::types::ToSql>::accepts(r#type)
            }

            tokio_postgres::types::to_sql_checked!();
        }

        impl<'a> tokio_postgres::types::FromSql<'a> for $ours {
            fn from_sql(
                r#type: &$crate::db::Type,
                raw: &'a [u8],
            ) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
                let $stored: $theirs = tokio_postgres::types::FromSql::from_sql(r#type, raw)?;
                Ok($from)
            }

            fn accepts(r#type: &$crate::db::Type) -> bool {
                <$theirs as tokio_postgres::types::FromSql>::accepts(r#type)
            }
        }
    };
}

/// Stores enums as the text of their names.
macro_rules! text_enums {
    ($($enum:ty),+ $(,)?) => {
        $(
            $crate::db::types::stored_as!($enum, &str, |value| value.as_str(), |text| text.parse::<$enum>()?);

            impl $crate::db::types::SqlType for $enum {
                const TYPE: $crate::db::Type = $crate::db::Type::TEXT;
                const ARRAY: $crate::db::Type = $crate::db::Type::TEXT_ARRAY;
            }
        )+
    };
}

pub(crate) use {stored_as, text_enums};

text_enums!(
    AttemptOutcome,
    BatchStatus,
    Direction,
    Encoding,
    EventType,
    HoldReason,
    Language,
    MediaStatus,
    OptOut,
    OptOutAction,
    OptOutSource,
    Priority,
    Purpose,
    RecipientEffect,
    Status,
    StreamKind,
);

macro_rules! uuid_types {
    ($($id:ty),+ $(,)?) => {
        $(
            stored_as!($id, Uuid, |value| value.uuid(), |stored| <$id>::from(stored));

            impl SqlType for $id {
                const TYPE: Type = Type::UUID;
                const ARRAY: Type = Type::UUID_ARRAY;
            }
        )+
    };
}

uuid_types!(AttemptId, BatchId, ConversationId, MediaId, MessageId, SubscriptionId, TemplateId);

stored_as!(Sender, &str, |value| value.as_str(), |text| Sender::from(text));
stored_as!(E164, &str, |value| value.as_str(), |text| text.parse::<E164>()?);
stored_as!(InboundSender, &str, |value| value.canonical(), |text| InboundSender::from_canonical(text));
stored_as!(AccountSid, &str, |value| value.as_str(), |text| text.parse::<AccountSid>()?);
stored_as!(MessageSid, &str, |value| value.as_str(), |text| text.parse::<MessageSid>()?);
stored_as!(Metadata, Json<Metadata>, |value| Json(value), |stored| stored.0);
stored_as!(Month, &str, |value| value.to_string(), |text| text.parse::<Month>()?);
