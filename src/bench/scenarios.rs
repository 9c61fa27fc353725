//! The scenarios that come with the program.

use std::fs;
use std::path::Path;

use anyhow::Context;
use rust_embed::RustEmbed;
use switchyard_load::Scenario;

#[derive(RustEmbed)]
#[folder = "benches/scenarios"]
struct Files;

/// All of them, by name.
pub fn all() -> anyhow::Result<Vec<Scenario>> {
    Files::iter().map(|file| parse(&file, &embedded(&file)?)).collect()
}

/// The text of one.
pub fn text(name: &str) -> anyhow::Result<String> {
    embedded(&format!("{name}.toml"))
}

/// A file if there is one of that name, or else the scenario of that name.
pub fn load(scenario: &str) -> anyhow::Result<Scenario> {
    let path = Path::new(scenario);
    if path.extension().is_some() || path.components().count() > 1 || path.is_file() {
        return parse(scenario, &fs::read_to_string(path).with_context(|| scenario.to_owned())?);
    }
    parse(&format!("{scenario}.toml"), &text(scenario)?)
}

fn parse(file: &str, text: &str) -> anyhow::Result<Scenario> {
    Ok(Scenario::parse(file, text)?)
}

fn embedded(file: &str) -> anyhow::Result<String> {
    let data = Files::get(file).with_context(|| {
        let known: Vec<String> = Files::iter().map(|file| file.trim_end_matches(".toml").to_owned()).collect();
        format!("there is no scenario {:?}; there are {}", file.trim_end_matches(".toml"), known.join(", "))
    })?;
    Ok(String::from_utf8(data.data.into_owned())?)
}

#[cfg(test)]
mod tests {
    #[test]
    fn each_scenario_is_found_by_its_own_name() {
        let all = super::all().unwrap();
        assert!(all.len() >= 10, "{} scenarios", all.len());
        for scenario in all {
            assert_eq!(super::load(&scenario.name).unwrap(), scenario);
        }
        assert!(super::load("nonsense").unwrap_err().to_string().contains("meeting"), "says what there is");
    }
}
