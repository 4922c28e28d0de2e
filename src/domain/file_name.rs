//! Names of files: wildcards over them.

/// Whether the whole of `name` fits `pattern`: `*` is any text, `?` any one character, letter case does not matter.
///
/// The classic greedy match with one point of return, the last `*` seen: time grows with pattern times name at worst.
pub fn fits(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.to_lowercase().chars().collect();
    let name: Vec<char> = name.to_lowercase().chars().collect();
    let (mut p, mut n) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                retry = Some((p + 1, n));
                p += 1;
            }
            Some(&c) if c == '?' || c == name[n] => {
                p += 1;
                n += 1;
            }
            Some(_) | None => match retry {
                Some((after_star, taken)) => {
                    p = after_star;
                    n = taken + 1;
                    retry = Some((after_star, n));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_match_whole_names_without_case() {
        for (pattern, name, want) in [
            ("*.pdf", "Contract.PDF", true),
            ("*.pdf", "contract.pdf.exe", false),
            ("*_signed*", "Договор_SIGNED (1).pdf", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*a*a*a*a*a*b", &"a".repeat(200), false),
            ("", "", true),
            ("*", "", true),
        ] {
            assert_eq!(fits(pattern, name), want, "{pattern} on {name}");
        }
    }
}
