//! One macro for closed enums of words: the same spelling in YAML, JSON, SQL and on the terminal.

/// Declares an enum whose variants are words, with `as_str`, `ALL`, `Display`, `FromStr`, serde and JSON Schema.
///
/// The word of a variant is its identifier, so the spelling in code, in the database and in a manifest is one.
#[macro_export]
macro_rules! words {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($(#[$vmeta:meta])* $variant:ident),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        $vis enum $name { $($(#[$vmeta])* $variant),+ }

        impl $name {
            /// Every variant, in order of declaration.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The word: the variant's own name.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant)),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::resource::words::UnknownWord;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::ALL.iter().copied().find(|word| word.as_str() == text).ok_or_else(|| {
                    $crate::resource::words::UnknownWord { word: text.to_owned(), known: Self::ALL.iter().map(|w| w.as_str()).collect() }
                })
            }
        }
    };
}

/// A text that is none of the words of a closed enum.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown word {word:?}; one of: {}", known.join(", "))]
pub struct UnknownWord {
    /// What was found.
    pub word: String,
    /// What would have been accepted.
    pub known: Vec<&'static str>,
}
