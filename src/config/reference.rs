//! What there is to configure, for people: from the options themselves.

use std::fmt::Write;

use clap::{Arg, ArgAction};

use super::{LIVE, keys};

/// The heading of options without one.
const GENERAL: &str = "General";

/// The options by their headings, in the order in which these appear first.
fn sections() -> Vec<(String, Vec<Arg>)> {
    let mut sections: Vec<(String, Vec<Arg>)> = Vec::new();
    for arg in keys() {
        let heading = arg.get_help_heading().unwrap_or(GENERAL).to_owned();
        match sections.iter_mut().find(|(name, _)| *name == heading) {
            Some((_, args)) => args.push(arg),
            None => sections.push((heading, vec![arg])),
        }
    }
    sections
}

/// What an option says of itself, with the full stop that clap takes off.
fn help(arg: &Arg) -> String {
    let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
    format!("{}.", help.trim_end_matches('.'))
}

fn default(arg: &Arg) -> Option<String> {
    arg.get_default_values().first().map(|default| default.display().to_string())
}

/// Which values there are, if they can be counted.
fn possible(arg: &Arg) -> Option<String> {
    let values = arg.get_possible_values();
    let is_choice = !values.is_empty() && !matches!(arg.get_action(), ArgAction::SetTrue);
    is_choice.then(|| values.iter().map(|value| value.get_name().to_owned()).collect::<Vec<_>>().join(", "))
}

/// A commented file with every key at its default. Those without a default stand there as comments.
pub fn example() -> String {
    let mut file = String::from(
        "# Switchyard's configuration. Every key is also an option (--media-port) and an environment variable (SWITCHYARD_MEDIA_PORT),\n\
         # which come before what is written here. `switchyard config check FILE` says what is wrong with it.\n",
    );
    for (heading, args) in sections() {
        let _ = write!(file, "\n##### {heading}\n");
        for arg in args {
            file.push('\n');
            wrap(&mut file, &help(&arg));
            if let Some(values) = possible(&arg) {
                let _ = writeln!(file, "# One of: {values}.");
            }
            let id = arg.get_id();
            let _ = match (arg.get_action(), default(&arg)) {
                (ArgAction::SetTrue, _) => writeln!(file, "{id} = false"),
                (ArgAction::Append, _) => writeln!(file, "{id} = []"),
                (_, Some(value)) if value.parse::<u64>().is_ok() => writeln!(file, "{id} = {value}"),
                (_, Some(value)) => writeln!(file, "{id} = {value:?}"),
                (_, None) => writeln!(file, "# {id} ="),
            };
        }
    }
    file
}

/// A comment of lines that are not too long.
fn wrap(file: &mut String, text: &str) {
    let mut line = String::from("#");
    for word in text.split_whitespace() {
        if line.len() + word.len() > 110 {
            let _ = writeln!(file, "{line}");
            line = "#".into();
        }
        let _ = write!(line, " {word}");
    }
    let _ = writeln!(file, "{line}");
}

/// docs/configure.md.
pub fn reference() -> String {
    let mut page = String::from(include_str!("reference.md"));
    for (heading, args) in sections() {
        let _ = write!(page, "\n## {heading}\n\n| key | default | live | what it is |\n| --- | --- | --- | --- |\n");
        for arg in args {
            let id = arg.get_id().as_str();
            let default = match (arg.get_action(), default(&arg)) {
                (ArgAction::SetTrue, _) => "`false`".to_owned(),
                (_, Some(value)) => format!("`{value}`"),
                (_, None) => String::new(),
            };
            let live = if LIVE.contains(&id) { "yes" } else { "" };
            let values = possible(&arg).map(|values| format!(" One of {values}.")).unwrap_or_default();
            let help = help(&arg).replace('|', "\\|").replace('\n', " ");
            let _ = writeln!(page, "| `{id}` | {default} | {live} | {help}{values} |");
        }
    }
    page
}
