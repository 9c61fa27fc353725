//! Tables, as text and as HTML.

use unicode_width::UnicodeWidthStr;

use super::writer::{Html, markup, printable};

/// Characters of a name in a table of a terminal, so that its figures stay beside it.
const NAME_CHARS: usize = 60;

/// A table: the first column names its row, the others are figures.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Table {
    /// What it shows.
    pub(super) caption: String,
    /// The columns' names; the first is that of the rows' names.
    pub(super) head: Vec<String>,
    /// The rows, each as long as `head`.
    pub(super) rows: Vec<Row>,
}

/// A row.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Row {
    /// Its cells.
    pub(super) cells: Vec<String>,
    /// Whether it sums up the others.
    pub(super) total: bool,
}

impl Table {
    /// An empty table.
    pub(super) fn new(caption: &str, head: &[&str]) -> Self {
        Self { caption: caption.to_owned(), head: head.iter().map(|&name| name.to_owned()).collect(), rows: Vec::new() }
    }

    /// Adds a row.
    pub(super) fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.head.len(), "{}", self.caption);
        self.rows.push(Row { cells, total: false });
    }

    /// Adds the row that sums up the others, if there are several.
    pub(super) fn total(&mut self, cells: Vec<String>) {
        if self.rows.len() > 1 {
            self.rows.push(Row { cells, total: true });
        }
    }

    /// The table as aligned lines; the caption is the head of its first column if that has none.
    pub(super) fn text(&self) -> String {
        let mut head = self.head.clone();
        if let Some(first) = head.first_mut().filter(|first| first.is_empty()) {
            first.clone_from(&self.caption);
        }
        let lines: Vec<Vec<String>> = std::iter::once((&head, ""))
            .chain(self.rows.iter().map(|row| (&row.cells, "  ")))
            .map(|(cells, indent)| {
                let mut cells: Vec<String> = cells.iter().map(|cell| shortened(&printable(cell))).collect();
                if let Some(first) = cells.first_mut() {
                    first.insert_str(0, indent);
                }
                cells
            })
            .collect();
        let width = |column: usize| lines.iter().filter_map(|cells| cells.get(column)).map(|cell| cell.width()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..head.len()).map(width).collect();
        let mut text = String::new();
        for cells in &lines {
            let mut line = String::new();
            for (column, (cell, width)) in cells.iter().zip(&widths).enumerate() {
                let space = " ".repeat(width.saturating_sub(cell.width()));
                match column {
                    0 => line.extend([cell.as_str(), &space]),
                    _ => line.extend(["  ", &space, cell.as_str()]),
                }
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    /// The table in a box that scrolls if it is too wide for the page.
    pub(super) fn html(&self, html: &mut Html) {
        markup!(
            html,
            "<div class=\"scroll\" role=\"region\" aria-label=\"{}\" tabindex=\"0\"><table><caption>{}</caption>",
            self.caption,
            self.caption
        );
        markup!(html, "<thead><tr>");
        for name in &self.head {
            match name.as_str() {
                "" => markup!(html, "<td></td>"),
                _ => markup!(html, "<th scope=\"col\">{}</th>", name),
            }
        }
        markup!(html, "</tr></thead><tbody>");
        for row in &self.rows {
            markup!(html, "<tr class=\"{}\">", if row.total { "total" } else { "" });
            for (column, cell) in row.cells.iter().enumerate() {
                match column {
                    0 => markup!(html, "<th scope=\"row\">{}</th>", cell),
                    _ => markup!(html, "<td>{}</td>", cell),
                }
            }
            markup!(html, "</tr>");
        }
        markup!(html, "</tbody></table></div>\n");
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(NAME_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
