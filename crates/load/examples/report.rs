//! Shows results files: `report RESULTS.json… PAGE.html` writes a page about them, `report RESULTS.json` says it as text.

use std::process::ExitCode;

use switchyard_load::report;
use switchyard_load::results::Document;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match show(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn show(arguments: &[String]) -> Result<(), String> {
    let (pages, files): (Vec<&String>, Vec<&String>) = arguments.iter().partition(|name| name.ends_with(".html"));
    if files.is_empty() || pages.len() > 1 {
        return Err("usage: report RESULTS.json… [PAGE.html]".to_owned());
    }
    let read = |name: &&String| {
        let json = std::fs::read_to_string(name).map_err(|error| format!("{name}: {error}"))?;
        Document::from_json(&json).map_err(|error| format!("{name}: {error}"))
    };
    let documents = files.iter().map(read).collect::<Result<Vec<Document>, String>>()?;
    match pages.first() {
        Some(page) => std::fs::write(page, report::html(&documents)).map_err(|error| format!("{page}: {error}")),
        None => {
            documents.iter().for_each(|document| println!("{}", report::text(document)));
            Ok(())
        }
    }
}
