//! The number that a document gets at a service which takes no id of ours: readable for people, and ours alone.

/// Longest number (iDocs guide: 1 to 256 characters).
pub const NUMBER_CHARS_MAX: usize = 256;

/// Fills a template: `{short}` (which makes it unique), `{name}` (the file's name without its end) and `{date}`.
///
/// The same arguments always give the same number. The name is what gives way when the whole would be too long.
pub fn document_number(template: &str, short: &str, name: &str, date: &str) -> String {
    let clean = |text: &str| text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>();
    // what is filled in may itself look like a placeholder, so that each is replaced once, from left to right
    let fill = |name: &str| {
        let mut out = String::new();
        let mut rest = template;
        while let Some((before, tail)) = rest.split_once('{') {
            out.push_str(before);
            let (value, after) = match tail.split_once('}') {
                Some(("short", after)) => (short, after),
                Some(("name", after)) => (name, after),
                Some(("date", after)) => (date, after),
                Some(_) | None => ("{", tail),
            };
            out.push_str(value);
            rest = after;
        }
        out + rest
    };
    let room = NUMBER_CHARS_MAX.saturating_sub(fill("").chars().count());
    let per_place = room / template.matches("{name}").count().max(1);
    let name: String = clean(name).chars().take(per_place).collect();
    clean(&fill(name.trim())).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_holds_what_its_template_names() {
        assert_eq!(document_number("B24-{short}", "k3x9", "Договор", "2026-01-31"), "B24-k3x9");
        assert_eq!(
            document_number("{name} от {date} ({short})", "k3x9", "Акт\n7", "2026-01-31"),
            "Акт 7 от 2026-01-31 (k3x9)"
        );
    }

    #[test]
    fn a_name_that_looks_like_a_placeholder_stays_a_name() {
        assert_eq!(document_number("{name}-{short}", "k3x9", "{short}", ""), "{short}-k3x9");
        assert_eq!(document_number("{x}-{short}", "k3x9", "n", ""), "{x}-k3x9");
    }

    #[test]
    fn a_long_name_gives_way_and_the_unique_part_stays() {
        let number = document_number("{name}/{short}", "k3x9", &"Ж".repeat(1_000), "");
        assert_eq!(number.chars().count(), NUMBER_CHARS_MAX);
        assert!(number.ends_with("/k3x9"));
    }
}
