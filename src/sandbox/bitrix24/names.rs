//! Names of CRM fields in their two spellings. Source: `api-reference/crm/data-types.md` of the Bitrix24 docs.

/// `assignedById` as `ASSIGNED_BY_ID`, `ufCrmContract` as `UF_CRM_CONTRACT`, `ufCrm_16` as `UF_CRM_16`.
pub(crate) fn upper_name(name: &str) -> String {
    let mut upper = String::with_capacity(name.len() + 8);
    let mut previous = '_';
    for c in name.chars() {
        if c.is_ascii_uppercase() && previous.is_ascii_lowercase() {
            upper.push('_');
        }
        upper.push(c.to_ascii_uppercase());
        previous = c;
    }
    upper
}

/// `UF_CRM_CONTRACT` as `ufCrmContract`; parts with letters and digits mixed keep their tail (`ufCrm_3_DIGIT10`).
pub(crate) fn camel_name(name: &str) -> String {
    let mut camel = String::with_capacity(name.len());
    let mut raw = false;
    for (n, part) in name.split('_').filter(|part| !part.is_empty()).enumerate() {
        raw |= part.bytes().any(|b| b.is_ascii_digit());
        let lower = part.to_ascii_lowercase();
        match (n, raw) {
            (0, _) => camel.push_str(&lower),
            (_, true) => camel.extend(["_", part]),
            (_, false) => {
                camel.push_str(&lower[..1].to_ascii_uppercase());
                camel.push_str(&lower[1..]);
            }
        }
    }
    camel
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_from_the_new_form_to_the_old_one_and_back() {
        for (new, old) in [
            ("assignedById", "ASSIGNED_BY_ID"),
            ("ufCrmContract", "UF_CRM_CONTRACT"),
            ("ufCrm_3_DIGIT10", "UF_CRM_3_DIGIT10"),
        ] {
            assert_eq!(upper_name(new), old);
            assert_eq!(camel_name(old), new);
        }
    }
}
