//! HTML in which whatever is not written here is escaped.

use std::borrow::Cow;
use std::fmt::{self, Display, Write};

/// A page, or a part of one, being written with [`markup!`].
#[derive(Debug, Default)]
pub(super) struct Html {
    text: String,
    ids: usize,
}

impl Html {
    /// An id that no other element of the page has.
    pub(super) fn fresh_id(&mut self) -> String {
        self.ids += 1;
        format!("id{}", self.ids)
    }

    /// What was written.
    pub(super) fn into_string(self) -> String {
        self.text
    }

    /// Writes a style sheet, which is not escaped and so has to be part of the program.
    pub(super) fn style(&mut self, sheet: &'static str) {
        self.text.extend(["<style>\n", sheet, "</style>\n"]);
    }

    /// For [`markup!`] only.
    pub(super) fn write(&mut self, arguments: fmt::Arguments<'_>) {
        // Writing into a string does not fail.
        let _ = self.text.write_fmt(arguments);
    }
}

/// Writes markup. The format is a literal; every argument is escaped, whether it stands between tags or in a quoted attribute. `concat!` keeps the
/// literal from capturing variables, which would go in as they are.
macro_rules! markup {
    ($html:expr, $format:literal $(, $argument:expr)* $(,)?) => {
        $html.write(format_args!(concat!($format) $(, $crate::report::writer::Escaped(&$argument))*))
    };
}
pub(super) use markup;

/// Shown escaped for HTML, in text and in quoted attributes.
pub(super) struct Escaped<'a, T: ?Sized>(pub(super) &'a T);

impl<T: Display + ?Sized> Display for Escaped<'_, T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping(out), "{}", self.0)
    }
}

struct Escaping<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for char in text.chars() {
            match char {
                '&' => self.0.write_str("&amp;")?,
                '<' => self.0.write_str("&lt;")?,
                '>' => self.0.write_str("&gt;")?,
                '"' => self.0.write_str("&quot;")?,
                '\'' => self.0.write_str("&#39;")?,
                // A browser would read some of these as other characters; none belongs on a page.
                control if is_unprintable(control) => self.0.write_char(char::REPLACEMENT_CHARACTER)?,
                plain => self.0.write_char(plain)?,
            }
        }
        Ok(())
    }
}

/// A text without characters that would move a terminal's cursor or turn the direction of what follows.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if text.contains(is_unprintable) { Cow::Owned(text.replace(is_unprintable, "\u{fffd}")) } else { Cow::Borrowed(text) }
}

/// Control characters and the controls of writing direction (Unicode Standard Annex 9).
fn is_unprintable(char: char) -> bool {
    char.is_control() || matches!(char, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_argument_is_escaped() {
        let mut html = Html::default();
        let name = "<script>alert('x')</script> & \"y\"";
        markup!(html, "<td title=\"{}\">{}</td>", name, name);
        let escaped = "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &quot;y&quot;";
        assert_eq!(html.into_string(), format!("<td title=\"{escaped}\">{escaped}</td>"));
    }

    #[test]
    fn what_moves_a_cursor_or_turns_text_around_is_replaced() {
        assert_eq!(printable("a\u{1b}[2Jb\u{202e}c\r"), "a\u{fffd}[2Jb\u{fffd}c\u{fffd}");
        assert!(matches!(printable("nothing to do: ü"), Cow::Borrowed(_)));
        assert_eq!(Escaped("\u{0}\u{80}").to_string(), "\u{fffd}\u{fffd}");
    }
}
