//! The sources that go into the product, as the checks read them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// The files below a folder with one of the extensions, tests excepted, in a fixed order.
pub fn files(folder: &Path, extensions: &[&str]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                if !matches!(name.as_str(), "tests" | "testing") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|is| extensions.iter().any(|extension| is == *extension)) && !name.contains("test") {
                files.push(path);
            }
        }
    }
    files.sort();
    if files.is_empty() {
        bail!("no source in {}", folder.display());
    }
    Ok(files)
}

/// The lines of a file without comments, with their numbers, up to the file's own tests (which come last, by this project's order).
pub fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut after_test_attribute = false;
    text.lines().enumerate().map(|(index, line)| (index + 1, line.split("//").next().unwrap_or(line))).take_while(move |(_, code)| {
        let begins_tests = after_test_attribute && code.trim_start().starts_with("mod ") && code.trim_end().ends_with('{');
        after_test_attribute = code.contains("#[cfg(test)]");
        !begins_tests
    })
}
