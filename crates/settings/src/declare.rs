//! The macro that declares settings.

/// Declares settings: a struct, with `Default`, `Clone`, `Debug`, `PartialEq` and serde's traits, and
/// its rows, the associated constant `SETTINGS`.
///
/// The documentation of a field is the help text of its setting, so it must read well to operators
/// too, in one paragraph. It is followed by the other properties of the row: `#[setting(flag = "…",
/// kind = …, default = "…")]`, then [`basic`](crate::Setting::basic),
/// [`secret`](crate::Setting::secret), [`nonzero`](crate::Setting::nonzero),
/// [`blank`](crate::Setting::blank) or [`unused`](crate::Setting::unused). The name in YAML is that
/// of the field, unless `name = "…"` stands before the flag. What serde's defaults leave out has
/// the built-in value.
///
/// The struct also has a private method `check_nonzero(&self, &mut Report)`, which `check` should
/// call first.
///
/// After a semicolon there may be fields that are not settings, each with its default: structs of
/// other sections, or fields that cannot be configured (`#[serde(skip)]`).
#[macro_export]
macro_rules! settings {
    (
        $(#[$outer:meta])*
        $visibility:vis struct $config:ident {
            $(
                $(#[doc = $help:literal])+
                #[setting(
                    $(name = $name:literal,)?
                    flag = $flag:literal,
                    kind = $kind:expr,
                    default = $default:tt
                    $(, $mark:ident)*
                )]
                pub $field:ident: $type:ty
            ),+ $(,)?
            $(;
                $(
                    $(#[$other_outer:meta])*
                    pub $other:ident: $other_type:ty = $other_default:expr
                ),+ $(,)?
            )?
        }
    ) => {
        #[derive(
            Clone, Debug, PartialEq, $crate::serde::Serialize, $crate::serde::Deserialize,
        )]
        #[serde(crate = "::settings::serde", default)]
        $(#[$outer])*
        $visibility struct $config {
            $(
                $(#[doc = $help])+
                #[doc = ""]
                #[doc = $crate::__documented!($default $($mark)*)]
                $(#[serde(rename = $name)])?
                #[serde(with = "::settings::field")]
                pub $field: $type,
            )+
            $($(
                $(#[$other_outer])*
                pub $other: $other_type,
            )+)?
        }

        impl $config {
            /// The settings, in the order of the fields.
            $visibility const SETTINGS: &'static [$crate::Setting] = &[
                $(
                    $crate::Setting::new(
                        $crate::__name!($($name)? $field),
                        $flag,
                        $kind,
                        $default,
                        $crate::__help(concat!($($help),+)),
                    )
                    $(.$mark())*,
                )+
            ];

            /// Reports what is 0 or empty where that is refused.
            #[allow(dead_code, reason = "who has no rules may leave it to where text is parsed")]
            fn check_nonzero(&self, report: &mut $crate::Report<'_>) {
                let zeros = [$($crate::field::Field::is_zero(&self.$field)),+];
                for (row, is_zero) in Self::SETTINGS.iter().zip(zeros) {
                    report.nonzero(row, is_zero);
                }
            }
        }

        impl Default for $config {
            fn default() -> Self {
                Self {
                    $($field: $crate::field::built_in($kind, $default),)+
                    $($($other: $other_default,)+)?
                }
            }
        }
    };
}

/// Declares an enum whose variants are words of a configuration: the type of a
/// [`Kind::OneOf`](crate::Kind::OneOf), whose words are its associated constant `WORDS`.
#[macro_export]
macro_rules! words {
    (
        $(#[$outer:meta])*
        $visibility:vis enum $name:ident {
            $($(#[$inner:meta])* $variant:ident = $word:literal),+ $(,)?
        }
    ) => {
        $(#[$outer])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, $crate::serde::Serialize, $crate::serde::Deserialize,
        )]
        #[serde(crate = "::settings::serde")]
        $visibility enum $name {
            $($(#[$inner])* #[serde(rename = $word)] $variant,)+
        }

        impl $name {
            /// All words, in the order of the variants.
            $visibility const WORDS: &'static [&'static str] = &[$($word),+];

            /// The word for it in a configuration.
            $visibility fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl $crate::field::Field for $name {
            fn from_value(value: $crate::Value) -> Option<Self> {
                match value {
                    $($crate::Value::Text(text) if text == $word => Some(Self::$variant),)+
                    _ => None,
                }
            }

            fn write<S: $crate::serde::Serializer>(
                &self,
                serializer: S,
            ) -> Result<S::Ok, S::Error> {
                $crate::serde::Serialize::serialize(self, serializer)
            }

            fn read<'de, D: $crate::serde::Deserializer<'de>>(
                deserializer: D,
            ) -> Result<Self, D::Error> {
                $crate::serde::Deserialize::deserialize(deserializer)
            }
        }
    };
}

/// The text after the help text in the documentation of a field.
#[doc(hidden)]
#[macro_export]
macro_rules! __documented {
    ("" $($mark:ident)*) => {
        concat!("Empty by default." $(, $crate::__marked!($mark))*)
    };
    ($default:tt $($mark:ident)*) => {
        concat!("Default: `", $default, "`." $(, $crate::__marked!($mark))*)
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __marked {
    (nonzero) => {
        " Neither 0 nor empty."
    };
    (secret) => {
        " Never printed."
    };
    ($mark:ident) => {
        ""
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __name {
    ($name:literal $field:ident) => {
        $name
    };
    ($field:ident) => {
        stringify!($field)
    };
}

/// A doc comment's lines, each with the blank that stands after `///`, as one text.
#[doc(hidden)]
pub const fn __help(lines: &'static str) -> &'static str {
    lines.split_at(1).1
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::Duration;

    use crate::{Kind, Report, Secret};

    crate::settings! {
        /// For these tests.
        pub(crate) struct DoorConfig {
            /// Addresses, told in more words than one line of a comment can hold, which continue
            /// on the next.
            #[setting(flag = "addr", kind = Kind::Addresses, default = "127.0.0.1,localhost", basic)]
            pub addresses: Vec<IpAddr>,
            /// How long to wait.
            #[setting(
                name = "door_timeout",
                flag = "timeout",
                kind = Kind::Duration,
                default = "1m30s",
                nonzero
            )]
            pub timeout: Duration,
            /// What opens it.
            #[setting(flag = "key", kind = Kind::Text, default = "", secret)]
            pub key: Option<Secret>,
            /// Most at once.
            #[setting(flag = "most", kind = Kind::Size, default = "2KiB")]
            pub most: u64;
            /// No setting.
            #[serde(skip)]
            pub colour: &'static str = "red",
        }
    }

    #[test]
    fn a_field_is_a_row() {
        let rows = DoorConfig::SETTINGS;
        let named: Vec<_> = rows.iter().map(|row| (row.path, row.flag)).collect();
        assert_eq!(
            named,
            [
                ("addresses", "addr"),
                ("door_timeout", "timeout"),
                ("key", "key"),
                ("most", "most")
            ]
        );
        assert_eq!(
            rows[0].help,
            "Addresses, told in more words than one line of a comment can hold, which continue on the \
             next."
        );
        assert!(rows[0].basic && rows[1].nonzero && rows[2].secret && !rows[3].secret);
    }

    #[test]
    fn a_default_is_its_text() {
        let config = DoorConfig::default();
        assert_eq!(config.addresses, [IpAddr::V4(Ipv4Addr::LOCALHOST); 2]);
        assert_eq!(config.timeout, Duration::from_secs(90));
        assert_eq!(
            (config.key, config.most, config.colour),
            (None, 2048, "red")
        );
    }

    #[test]
    fn serde_has_the_names_and_forms_of_a_configuration() {
        let config = DoorConfig {
            key: Some(Secret::new("hush")),
            ..DoorConfig::default()
        };
        let json = serde_json::to_value(&config).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "addresses": ["127.0.0.1", "127.0.0.1"],
                "door_timeout": "1m30s",
                "key": "********",
                "most": 2048,
            })
        );
        let read: DoorConfig =
            serde_json::from_str(r#"{"door_timeout": "2s", "key": ""}"#).unwrap();
        let expected = DoorConfig {
            timeout: Duration::from_secs(2),
            ..DoorConfig::default()
        };
        assert_eq!(read, expected);
    }

    #[test]
    fn names_of_a_report_are_relative_without_an_application() {
        let mut report = Report::default();
        let zero = DoorConfig {
            timeout: Duration::ZERO,
            most: 0,
            ..DoorConfig::default()
        };
        zero.check_nonzero(&mut report);
        report.pair(("key", true), ("door_timeout", false));
        report.at_most_bytes("key", "four", 3);
        let described = report.described("door_timeout", "1s");
        report.bad_together(
            &["most", "door_timeout"],
            format!("too much for {described}"),
        );
        assert!(!report.accepted(&["most"]) && report.accepted(&["key_of_another"]));
        let mistakes = report.into_result().unwrap_err();
        assert_eq!(
            mistakes.to_string(),
            "door_timeout: must be a duration such as 1m30s or 500ms; more than 0; key: is set without door_timeout; set both; key: got 4 bytes; must be at most 3; most: too \
             much for door_timeout 1s"
        );
    }
}
