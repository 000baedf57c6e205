//! YAML with the line of every key and value. Scalars stay text: the table knows their type.

use saphyr::{MarkedYaml, ScalarStyle, ScanError, YamlData, YamlLoader};
use saphyr_parser::{Event, Parser, SpannedEventReceiver, StrInput};

use crate::errors::{Findings, Origin};

/// One value with the line, counted from 1, on which it begins.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) line: usize,
    pub(crate) content: Content,
}

#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// An empty value, `~` or `null`: as if the key were absent.
    Null,
    Text(String),
    List(Vec<Node>),
    Mapping(Vec<Entry>),
}

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    /// Line of the key, which is what a message about the entry names.
    pub(crate) line: usize,
    pub(crate) value: Node,
}

impl Content {
    /// Completes "got …".
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Text(_) => "a single value",
            Self::List(_) => "a list",
            Self::Mapping(_) => "a mapping",
        }
    }
}

/// Parses the one document of `text`. Mistakes go to `findings`; what could be understood all the
/// same is returned, so that one run reports more than the first mistake. An empty document is no
/// mistake and gives no entries.
pub(crate) fn parse_mapping(file: &str, text: &str, findings: &mut Findings) -> Vec<Entry> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let documents = match load(text, false) {
        Ok(documents) => documents,
        Err(error) => {
            report(file, text, &error, findings);
            // A repeated key does not hide the other mistakes; broken syntax does.
            match load(text, true) {
                Ok(documents) => documents,
                Err(_) => return Vec::new(),
            }
        }
    };
    let mut documents = documents.into_iter();
    let first = documents.next();
    if let Some(second) = documents.next() {
        let origin = at(file, second.span.start.line());
        findings.error(
            &origin,
            "",
            "a second document begins here; a file must hold only one",
        );
    }
    let Some(node) = first.map(|document| convert(file, &document, findings)) else {
        return Vec::new();
    };
    match node.content {
        Content::Mapping(entries) => entries,
        Content::Null => Vec::new(),
        other => {
            let problem = format!(
                "got {} at the top; must be a mapping of settings",
                other.word()
            );
            findings.error(&at(file, node.line), "", problem);
            Vec::new()
        }
    }
}

pub(crate) fn at(file: &str, line: usize) -> Origin {
    Origin::File {
        file: file.to_string(),
        line,
    }
}

/// Far more than any setting has.
const MAX_DEPTH: usize = 100;

/// The events are taken one by one: the parser bounds the depth of `[[[` but not that of
/// indentation, and its own `load`, and whatever walks or drops the nodes later, is recursive.
fn load(text: &str, repeated_keys: bool) -> Result<Vec<MarkedYaml<'_>>, ScanError> {
    let mut loader: YamlLoader<'_, MarkedYaml<'_>> = YamlLoader::default();
    loader.early_parse(false);
    loader.allow_duplicate_keys(repeated_keys);
    let mut depth = 0_usize;
    for event in Parser::new(StrInput::new(text)) {
        let (event, span) = event?;
        match event {
            Event::SequenceStart(..) | Event::MappingStart(..) => depth += 1,
            Event::SequenceEnd | Event::MappingEnd => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            let problem = format!("nested deeper than {MAX_DEPTH} levels");
            return Err(ScanError::new(span.start, problem));
        }
        loader.on_event(event, span);
        if let Some(error) = loader.error() {
            return Err(error.clone());
        }
    }
    Ok(loader.into_documents())
}

fn report(file: &str, text: &str, error: &ScanError, findings: &mut Findings) {
    let line = error.marker().line();
    let content = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
    let indentation = &content[..content.len() - content.trim_start().len()];
    let problem = match error.info() {
        "duplicated key in mapping" => {
            let from_key: String = content.chars().skip(error.marker().col()).collect();
            let key = from_key.split(':').next().unwrap_or_default().trim_end();
            format!("the key {key:?} occurs twice in one mapping; remove one of them")
        }
        _ if indentation.contains('\t') => {
            "a tab in the indentation, which YAML forbids; use spaces".to_string()
        }
        info => format!("not YAML: {info} (column {})", error.marker().col() + 1),
    };
    findings.error(&at(file, line), "", problem);
}

fn convert(file: &str, node: &MarkedYaml<'_>, findings: &mut Findings) -> Node {
    let line = node.span.start.line();
    let content = match &node.data {
        YamlData::Representation(text, style, _) => match (style, text.as_ref()) {
            (ScalarStyle::Plain, "" | "~" | "null" | "Null" | "NULL") => Content::Null,
            _ => Content::Text(text.to_string()),
        },
        YamlData::Sequence(items) => Content::List(
            items
                .iter()
                .map(|item| convert(file, item, findings))
                .collect(),
        ),
        YamlData::Mapping(entries) => {
            let mut result: Vec<Entry> = Vec::new();
            let mut merged: Vec<Entry> = Vec::new();
            for (key, value) in entries {
                let key_line = key.span.start.line();
                let YamlData::Representation(name, style, _) = &key.data else {
                    findings.error(&at(file, key_line), "", "a key must be plain text");
                    continue;
                };
                let value = convert(file, value, findings);
                if name == "<<" && *style == ScalarStyle::Plain {
                    merge_keys(value, &mut merged);
                    continue;
                }
                result.push(Entry {
                    key: name.to_string(),
                    line: key_line,
                    value,
                });
            }
            for entry in merged {
                if !result.iter().any(|own| own.key == entry.key) {
                    result.push(entry);
                }
            }
            Content::Mapping(result)
        }
        YamlData::Tagged(_, inner) => return convert(file, inner, findings),
        // The parser leaves this for an empty document.
        YamlData::BadValue => Content::Null,
        YamlData::Value(_) | YamlData::Alias(_) => {
            findings.error(&at(file, line), "", "a value that cannot be read");
            Content::Null
        }
    };
    Node { line, content }
}

/// `<<: *anchor` and `<<: [*one, *other]`, as Go's YAML library has them.
fn merge_keys(value: Node, merged: &mut Vec<Entry>) {
    match value.content {
        Content::Mapping(entries) => {
            for entry in entries {
                if !merged.iter().any(|earlier| earlier.key == entry.key) {
                    merged.push(entry);
                }
            }
        }
        Content::List(items) => items.into_iter().for_each(|item| merge_keys(item, merged)),
        Content::Null | Content::Text(_) => {}
    }
}

/// Replaces `$VAR`, `${VAR}` and `${VAR:default}` as Mimir does: an empty variable takes the
/// default, and line feeds in a value are dropped, so line numbers stay. `$$` gives one `$`.
/// Names that have neither value nor default are added to `missing`.
pub(crate) fn expand_environment(
    text: &str,
    lookup: impl Fn(&str) -> Option<String>,
    missing: &mut Vec<String>,
) -> String {
    let mut result = String::with_capacity(text.len());
    let mut value_of = |name: &str, default: Option<&str>, result: &mut String| {
        let value = lookup(name).filter(|value| !value.is_empty());
        match value.as_deref().or(default) {
            Some(value) => result.extend(value.chars().filter(|c| *c != '\n')),
            None if missing.iter().any(|known| known == name) => {}
            None => missing.push(name.to_string()),
        }
    };
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        result.push_str(&rest[..dollar]);
        let after = &rest[dollar + 1..];
        if let Some(tail) = after.strip_prefix('$') {
            result.push('$');
            rest = tail;
        } else if let Some((inner, tail)) = after
            .strip_prefix('{')
            .and_then(|braced| braced.split_once('}'))
        {
            match inner.split_once(':') {
                Some((name, default)) => value_of(name, Some(default), &mut result),
                None => value_of(inner, None, &mut result),
            }
            rest = tail;
        } else {
            let end = after
                .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .unwrap_or(after.len());
            match &after[..end] {
                "" => result.push('$'),
                name => value_of(name, None, &mut result),
            }
            rest = &after[end..];
        }
    }
    result.push_str(rest);
    result
}
