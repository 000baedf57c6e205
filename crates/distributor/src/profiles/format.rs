//! The format of pprof: a gzipped protobuf message
//! (<https://github.com/google/pprof/blob/main/proto/profile.proto>).

use std::collections::HashMap;
use std::io::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flate2::Compression;
use flate2::write::GzEncoder;
use pprof::{Report, Symbol};
use prost::Message;

/// The messages, as far as they are written. Numbers of strings are places in the table.
#[derive(Clone, PartialEq, Message)]
struct Profile {
    #[prost(message, repeated, tag = "1")]
    sample_type: Vec<ValueType>,
    #[prost(message, repeated, tag = "2")]
    sample: Vec<Sample>,
    #[prost(message, repeated, tag = "4")]
    location: Vec<Location>,
    #[prost(message, repeated, tag = "5")]
    function: Vec<Function>,
    #[prost(string, repeated, tag = "6")]
    string_table: Vec<String>,
    #[prost(int64, tag = "9")]
    time_nanos: i64,
    #[prost(int64, tag = "10")]
    duration_nanos: i64,
    #[prost(message, optional, tag = "11")]
    period_type: Option<ValueType>,
    #[prost(int64, tag = "12")]
    period: i64,
}

#[derive(Clone, PartialEq, Message)]
struct ValueType {
    #[prost(int64, tag = "1")]
    kind: i64,
    #[prost(int64, tag = "2")]
    unit: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    /// The innermost first.
    #[prost(uint64, repeated, tag = "1")]
    location_id: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    value: Vec<i64>,
    #[prost(message, repeated, tag = "3")]
    label: Vec<Label>,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(int64, tag = "1")]
    key: i64,
    #[prost(int64, tag = "2")]
    text: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Location {
    #[prost(uint64, tag = "1")]
    id: u64,
    /// Of the function that was called last first, the inlined ones before the one that contains them.
    #[prost(message, repeated, tag = "4")]
    line: Vec<Line>,
}

#[derive(Clone, PartialEq, Message)]
struct Line {
    #[prost(uint64, tag = "1")]
    function_id: u64,
    #[prost(int64, tag = "2")]
    line: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Function {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(int64, tag = "2")]
    name: i64,
    #[prost(int64, tag = "3")]
    system_name: i64,
    #[prost(int64, tag = "4")]
    filename: i64,
}

/// What has been numbered.
#[derive(Default)]
struct Tables {
    strings: Vec<String>,
    numbers: HashMap<String, i64>,
    functions: Vec<Function>,
    function_numbers: HashMap<(i64, i64), u64>,
    locations: Vec<Location>,
    location_numbers: HashMap<Vec<(u64, i64)>, u64>,
}

/// The samples of a report; each counts, and stands for its part of a second of CPU time.
pub(super) fn encode(report: &Report, duration: Duration, frequency: i32) -> Vec<u8> {
    let mut tables = Tables::default();
    // The first string is empty.
    tables.string("");
    let period = 1_000_000_000 / i64::from(frequency.max(1));
    let value_type = |tables: &mut Tables, kind, unit| ValueType {
        kind: tables.string(kind),
        unit: tables.string(unit),
    };
    let sample_type = vec![
        value_type(&mut tables, "samples", "count"),
        value_type(&mut tables, "cpu", "nanoseconds"),
    ];
    let thread = tables.string("thread");
    let sample = report.data.iter().map(|(stack, count)| {
        let count = i64::try_from(*count).unwrap_or(i64::MAX);
        let frames = stack.frames.iter();
        Sample {
            location_id: frames.map(|frame| tables.location(frame)).collect(),
            value: vec![count, count.saturating_mul(period)],
            label: vec![Label {
                key: thread,
                text: tables.string(&stack.thread_name),
            }],
        }
    });
    let sample = sample.collect();
    let profile = Profile {
        sample_type,
        sample,
        period_type: Some(value_type(&mut tables, "cpu", "nanoseconds")),
        period,
        time_nanos: nanos(since_1970(report.timing.start_time)),
        duration_nanos: nanos(duration),
        location: tables.locations,
        function: tables.functions,
        string_table: tables.strings,
    };
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing to memory cannot fail.
    let _ = gzip.write_all(&profile.encode_to_vec());
    gzip.finish().unwrap_or_default()
}

fn since_1970(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

impl Tables {
    fn string(&mut self, text: &str) -> i64 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = self.strings.len() as i64;
        self.strings.push(text.to_owned());
        self.numbers.insert(text.to_owned(), number);
        number
    }

    /// A frame: a function, after those that were inlined into it.
    fn location(&mut self, frame: &[Symbol]) -> u64 {
        let lines: Vec<(u64, i64)> = frame
            .iter()
            .map(|symbol| {
                let line = symbol.lineno.map_or(0, i64::from);
                (self.function(symbol), line)
            })
            .collect();
        if let Some(number) = self.location_numbers.get(&lines) {
            return *number;
        }
        let id = self.locations.len() as u64 + 1;
        let line = lines.iter().map(|(function_id, line)| Line {
            function_id: *function_id,
            line: *line,
        });
        self.locations.push(Location {
            id,
            line: line.collect(),
        });
        self.location_numbers.insert(lines, id);
        id
    }

    fn function(&mut self, symbol: &Symbol) -> u64 {
        let name = self.string(&symbol.name());
        let system_name = self.string(&symbol.sys_name());
        let filename = self.string(&symbol.filename());
        if let Some(number) = self.function_numbers.get(&(system_name, filename)) {
            return *number;
        }
        let id = self.functions.len() as u64 + 1;
        self.functions.push(Function {
            id,
            name,
            system_name,
            filename,
        });
        self.function_numbers.insert((system_name, filename), id);
        id
    }
}
