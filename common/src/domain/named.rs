//! Enums whose variants have names in the API and in the database.

/// Defines an enum with one name per variant: `as_str`, `ALL`, `Display`, `FromStr`, serde and the OpenAPI schema use
/// the same names.
macro_rules! named_enum {
    ($(#[$meta:meta])* $vis:vis enum $enum:ident: $kind:literal {
        // A `tt`: utoipa does not find the name in an attribute with a `literal` of a macro.
        $($(#[$variant_meta:meta])* $variant:ident = $name:tt,)+
    }) => {
        $(#[$meta])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
        )]
        $vis enum $enum {
            $($(#[$variant_meta])* #[serde(rename = $name)] $variant,)+
        }

        impl $enum {
            /// Every value, in the order of the declaration.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$variant),+];

            /// Returns the name in the API and the database.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }

        impl std::fmt::Display for $enum {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $enum {
            type Err = $crate::domain::named::UnknownName;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let found = Self::ALL.into_iter().find(|value| value.as_str() == text);
                found.ok_or_else(|| $crate::domain::named::UnknownName { text: text.to_owned(), kind: $kind })
            }
        }
    };
}

pub(crate) use named_enum;

/// The text is not a name of the enum.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {kind}")]
pub struct UnknownName {
    /// The text.
    pub text: String,
    /// What the names of the enum are, with an article: `a message status`.
    pub kind: &'static str,
}
