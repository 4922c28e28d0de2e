//! Tiny valid PDFs, so that the demo needs no files of its own on disk.
//!
//! Knows nothing of what they are for. Invariants: every byte offset in the cross-reference table is right, so that
//! any reader opens the file; the same arguments make the same bytes.

/// A one-page PDF that shows `lines`, in Latin letters (the built-in fonts of PDF have no others).
pub fn small(lines: &[&str]) -> Vec<u8> {
    build(lines, None)
}

/// The same, with an attached stream of noise that makes it at least `bytes_min` long and cannot be compressed away.
pub fn padded(lines: &[&str], bytes_min: usize) -> Vec<u8> {
    build(lines, Some(noise(bytes_min)))
}

fn build(lines: &[&str], padding: Option<Vec<u8>>) -> Vec<u8> {
    let content = page_content(lines);
    let mut objects = vec![
        b"<< /Type /Catalog /Pages 2 0 R >>".to_vec(),
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_vec(),
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R \
           /Resources << /Font << /F1 5 0 R >> >> >>"
            .to_vec(),
        stream(&content),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>".to_vec(),
    ];
    objects.extend(padding.map(|noise| stream(&noise)));
    assemble(&objects)
}

fn page_content(lines: &[&str]) -> Vec<u8> {
    let mut content = String::from("BT /F1 20 Tf 72 740 Td 30 TL\n");
    for line in lines {
        content.push_str(&format!("({}) Tj T*\n", escaped(line)));
    }
    content.push_str("ET");
    content.into_bytes()
}

/// A literal string of PDF: brackets and backslashes are escaped, what is not ASCII becomes `?`.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '(' | ')' | '\\' => out.extend(['\\', c]),
            ' '..='~' => out.push(c),
            _ => out.push('?'),
        }
    }
    out
}

fn stream(bytes: &[u8]) -> Vec<u8> {
    let mut object = format!("<< /Length {} >>\nstream\n", bytes.len()).into_bytes();
    object.extend_from_slice(bytes);
    object.extend_from_slice(b"\nendstream");
    object
}

/// Puts numbered objects, the cross-reference table and the trailer together.
fn assemble(objects: &[Vec<u8>]) -> Vec<u8> {
    let mut pdf = b"%PDF-1.4\n%\xE2\xE3\xCF\xD3\n".to_vec();
    let mut offsets = Vec::with_capacity(objects.len());
    for (index, object) in objects.iter().enumerate() {
        offsets.push(pdf.len());
        pdf.extend_from_slice(format!("{} 0 obj\n", index + 1).as_bytes());
        pdf.extend_from_slice(object);
        pdf.extend_from_slice(b"\nendobj\n");
    }
    let table_at = pdf.len();
    let size = objects.len() + 1;
    let mut table = format!("xref\n0 {size}\n0000000000 65535 f \n");
    for offset in offsets {
        table.push_str(&format!("{offset:010} 00000 n \n"));
    }
    table.push_str(&format!("trailer\n<< /Size {size} /Root 1 0 R >>\nstartxref\n{table_at}\n%%EOF\n"));
    pdf.extend_from_slice(table.as_bytes());
    pdf
}

/// `len` bytes of a xorshift generator: fast, and the same at every call.
fn noise(len: usize) -> Vec<u8> {
    let mut state: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(bytes: &[u8], part: &[u8]) -> usize {
        bytes.windows(part.len()).rposition(|window| window == part).unwrap()
    }

    fn number_at(bytes: &[u8], from: usize) -> usize {
        let digits: String =
            bytes[from..].iter().take_while(|b| b.is_ascii_digit()).map(|b| char::from(*b)).collect();
        digits.parse().unwrap()
    }

    #[test]
    fn every_offset_of_the_table_leads_to_its_object() {
        for pdf in [small(&["Contract (17)"]), padded(&["Drawings"], 100_000)] {
            let table_at = number_at(&pdf, find(&pdf, b"startxref\n") + 10);
            assert!(pdf[table_at..].starts_with(b"xref\n0 "));
            let count = number_at(&pdf, table_at + 7);
            let rows = table_at + 7 + count.to_string().len() + 1;
            for object in 1..count {
                let offset = number_at(&pdf, rows + object * 20);
                assert!(pdf[offset..].starts_with(format!("{object} 0 obj\n").as_bytes()), "object {object}");
            }
        }
    }

    #[test]
    fn a_padded_pdf_is_as_long_as_asked_and_repeats_exactly() {
        let pdf = padded(&["x"], 50_000);
        assert!(pdf.len() >= 50_000 && pdf.len() < 52_000);
        assert_eq!(pdf, padded(&["x"], 50_000));
    }

    #[test]
    fn text_cannot_break_out_of_its_string() {
        assert_eq!(escaped(r"a) Tj (\ ж"), r"a\) Tj \(\\ ?");
    }
}
