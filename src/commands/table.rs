//! Tables and sheets for a terminal. Every text that goes in may come from a stranger: what could steer the terminal
//! or turn the line around is replaced.

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{ContentArrangement, Table};

/// Longest text of one cell; the whole text is in `show` and in `--json`.
const CELL_CHARS_MAX: usize = 100;

/// A table with a head. All rows have as many cells as the head.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(head.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
    for row in rows {
        table.add_row(row.iter().map(|cell| shortened(cell)).collect::<Vec<_>>());
    }
    table.to_string()
}

/// Names and values below each other, the values aligned. Empty values are left out.
pub fn sheet(lines: &[(&str, String)]) -> String {
    let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
    let filled = lines.iter().filter(|(_, value)| !value.is_empty());
    filled.map(|(name, value)| format!("{name:<width$}  {}\n", harmless(value))).collect()
}

/// The text in one line without anything that steers a terminal.
pub fn harmless(text: &str) -> String {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if steers(c) { ' ' } else { c }).collect()
}

fn shortened(text: &str) -> String {
    let text = harmless(text);
    match text.char_indices().nth(CELL_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_cannot_steer_the_terminal() {
        let evil = "a\u{1b}[2Jb\r\n\u{202e}fdp.exe";
        let shown = table(&["name"], &[vec![evil.into()]]);
        assert!(shown.contains("a [2Jb   fdp.exe"), "{shown}");
        assert!(!sheet(&[("name", evil.into())]).contains('\u{1b}'));
    }

    #[test]
    fn a_long_text_is_shortened_in_a_table_and_whole_on_a_sheet() {
        let long = "д".repeat(CELL_CHARS_MAX + 1);
        let shown = table(&["why"], &[vec![long.clone()]]);
        assert!(shown.contains('…') && !shown.contains(&long));
        assert!(sheet(&[("why", long.clone()), ("none", String::new())]).contains(&long));
        assert!(!sheet(&[("none", String::new())]).contains("none"));
    }
}
