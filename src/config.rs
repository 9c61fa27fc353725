//! Configuration files: TOML whose keys are the options of `switchyard serve`, strictly read. Every error says where it is and what would be right.
//!
//! There is one list of options, the command line's. A file's values are checked one by one, each at its place, by the parser that its option has, and then put
//! in front of the command line's as if they had been written there.

mod reference;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Args, CommandFactory, FromArgMatches, parser::ValueSource};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::cli::{Cli, Command, Serve};
pub use reference::{example, reference};

/// The keys that can change while the server runs.
pub const LIVE: [&str; 4] = ["max_load", "heard", "shown", "log"];
/// Bytes of a file at most: hundreds of times what every option takes.
const MAX_FILE: u64 = 1 << 20;
/// A key this similar to one there is (Jaro), is taken for a slip of the pen.
const SIMILAR: f64 = 0.7;

/// Something wrong in a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The file as it was named.
    file: String,
    /// Line and column, counted from 1; the latter in characters. `None`: it is the file that is wrong.
    place: Option<(usize, usize)>,
    message: String,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Some((line, column)) => write!(f, "{}:{line}:{column}: {}", self.file, self.message),
            None => write!(f, "{}: {}", self.file, self.message),
        }
    }
}

/// Why there is nothing to be done.
#[derive(Debug)]
pub enum Failure {
    /// Of the command line or the environment; also help and version.
    Usage(clap::Error),
    /// Of the configuration file: all that is wrong with it.
    File(Vec<Wrong>),
}

/// Every option of `serve` as it was written, to be compared with what is written later.
#[derive(Clone, Debug, Default)]
pub struct Written(BTreeMap<String, Vec<OsString>>);

impl Written {
    /// The options that are not as they were in `before`.
    pub fn changed<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(|(key, value)| before.0.get(*key) != Some(value)).map(|(key, _)| key.as_str())
    }
}

/// Reads the command line, and the configuration file that it or the environment names.
pub fn load(arguments: impl IntoIterator<Item = OsString>) -> Result<(Command, Written), Failure> {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    let command = Cli::command();
    let mut matches = command.clone().try_get_matches_from(&arguments).map_err(Failure::Usage)?;
    if let Some(("serve" | "healthcheck", serve)) = matches.subcommand()
        && let Some(file) = serve.get_one::<PathBuf>("config")
    {
        let is_said =
            |arg: &Arg| matches!(serve.value_source(arg.get_id().as_str()), Some(ValueSource::CommandLine | ValueSource::EnvVariable));
        let more = read(file).and_then(|text| options(&file.display().to_string(), &text, |arg| !is_said(arg))).map_err(Failure::File)?;
        arguments.extend(more);
        matches = command.try_get_matches_from(&arguments).map_err(Failure::Usage)?;
    }
    let written = matches.subcommand_matches("serve").map(written).unwrap_or_default();
    Ok((Cli::from_arg_matches(&matches).map_err(Failure::Usage)?.command, written))
}

/// Reads a configuration file and says all that is wrong with it, and what contradicts itself in it, the environment considered.
pub fn check(file: &Path) -> Result<(), Failure> {
    read(file).and_then(|text| options(&file.display().to_string(), &text, |_| true)).map_err(Failure::File)?;
    let arguments = ["switchyard", "serve", "--config"].map(OsString::from).into_iter().chain([file.as_os_str().to_owned()]);
    if let Command::Serve(serve) = load(arguments)?.0
        && let Err(message) = serve.check()
    {
        return Err(Failure::File(vec![Wrong { file: file.display().to_string(), place: None, message: message.to_owned() }]));
    }
    Ok(())
}

fn written(serve: &ArgMatches) -> Written {
    let raw = |id: &str| serve.get_raw(id).into_iter().flatten().map(OsString::from).collect();
    Written(keys().map(|arg| (arg.get_id().to_string(), raw(arg.get_id().as_str()))).collect())
}

/// The options that are keys of a file: all but those for tests, and the file itself. In their order.
fn keys() -> impl Iterator<Item = Arg> {
    let command = Serve::augment_args(clap::Command::new("serve"));
    let all: Vec<Arg> = command.get_arguments().filter(|arg| !arg.is_hide_set() && arg.get_id() != "config").cloned().collect();
    all.into_iter()
}

fn read(file: &Path) -> Result<String, Vec<Wrong>> {
    let wrong = |message: String| vec![Wrong { file: file.display().to_string(), place: None, message }];
    let size = std::fs::metadata(file).map_err(|error| wrong(format!("can't be read: {error}")))?.len();
    if size > MAX_FILE {
        return Err(wrong(format!("has {size} bytes; a configuration has at most {MAX_FILE}")));
    }
    std::fs::read_to_string(file).map_err(|error| wrong(format!("can't be read: {error}")))
}

/// The options of a file as they would be written on a command line, of those that are `wanted`.
fn options(file: &str, text: &str, wanted: impl Fn(&Arg) -> bool) -> Result<Vec<OsString>, Vec<Wrong>> {
    let at = |span: Range<usize>, message: String| {
        let before = text.get(..span.start.min(text.len())).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let place = (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1);
        Wrong { file: file.to_owned(), place: Some(place), message }
    };
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        return Err(errors.iter().map(|error| at(error.span().unwrap_or(0..0), error.message().to_owned())).collect());
    }
    let (mut options, mut wrong) = (Vec::new(), Vec::new());
    for (key, value) in document.get_ref() {
        let name: &str = key.get_ref();
        let Some(arg) = keys().find(|arg| arg.get_id() == name) else {
            wrong.push(at(key.span(), unknown(name, value.get_ref())));
            continue;
        };
        match values(&arg, value) {
            Ok(values) if wanted(&arg) => options.extend(values),
            Ok(_) => {}
            Err((span, message)) => wrong.push(at(span, message)),
        }
    }
    if wrong.is_empty() { Ok(options) } else { Err(wrong) }
}

fn unknown(name: &str, value: &DeValue<'_>) -> String {
    if matches!(value, DeValue::Table(_)) {
        return format!("there is no section [{name}]: all keys stand at the top");
    }
    let similar = keys().map(|arg| (strsim::jaro(name, arg.get_id().as_str()), arg.get_id().to_string()));
    let best = similar.filter(|(similarity, _)| *similarity > SIMILAR).max_by(|a, b| a.0.total_cmp(&b.0));
    let hint =
        best.map_or_else(|| "`switchyard config example` prints all there are".into(), |(_, key)| format!("is it {key} that is meant?"));
    format!("there is no key {name}; {hint}")
}

/// What is wrong, and where in the text.
type Misplaced = (Range<usize>, String);

/// A key's value as options, if its option takes it.
fn values(arg: &Arg, value: &Spanned<DeValue<'_>>) -> Result<Vec<OsString>, Misplaced> {
    let many = matches!(arg.get_action(), ArgAction::Append);
    let option = format!("--{}", arg.get_long().unwrap_or_default());
    match (arg.get_action(), value.get_ref()) {
        (ArgAction::SetTrue, DeValue::Boolean(on)) => Ok(on.then(|| option.into()).into_iter().collect()),
        (ArgAction::SetTrue, _) => Err((value.span(), format!("{} is true or false", arg.get_id()))),
        (_, DeValue::Array(list)) if many => list.iter().map(|item| self::value(arg, &option, item)).collect(),
        _ => self::value(arg, &option, value).map(|option| vec![option]),
    }
}

fn value(arg: &Arg, option: &str, value: &Spanned<DeValue<'_>>) -> Result<OsString, Misplaced> {
    let wrong = |why: &str| {
        let what = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let default = arg.get_default_values().first().map(|default| format!(" (by default {})", default.display())).unwrap_or_default();
        (value.span(), format!("{}: {why}. It is: {}{default}", arg.get_id(), what.trim_end_matches('.')))
    };
    let text = match value.get_ref() {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) if number.radix() == 10 => number.as_str().to_owned(),
        DeValue::Float(number) => number.as_str().to_owned(),
        DeValue::Integer(_) => return Err(wrong("write the number in decimals")),
        DeValue::Boolean(_) => return Err(wrong("true and false say nothing here")),
        DeValue::Datetime(_) => return Err(wrong("a date says nothing here")),
        DeValue::Array(_) => return Err(wrong("it is one value, not a list")),
        DeValue::Table(_) => return Err(wrong("it is no table")),
    };
    let option = OsString::from(format!("{option}={text}"));
    // By the option's own parser; what the environment says of it is not asked.
    let alone = clap::Command::new("serve").no_binary_name(true).disable_help_flag(true).arg(arg.clone().env(None));
    match alone.try_get_matches_from([&option]) {
        Ok(_) => Ok(option),
        Err(error) => Err(wrong(&reason(&error, &text))),
    }
}

/// Why clap refuses a value, without its usage.
fn reason(error: &clap::Error, text: &str) -> String {
    use clap::error::{ContextKind, ContextValue};
    let source = std::error::Error::source(error).map(ToString::to_string);
    let possible = match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(values)) => Some(format!("one of {}", values.join(", "))),
        _ => None,
    };
    match source.or(possible) {
        Some(why) => format!("{text:?} won't do ({why})"),
        None => format!("{text:?} won't do"),
    }
}

#[cfg(test)]
mod tests;
