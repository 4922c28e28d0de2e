//! What the statuses of iDocs mean: by name and by number, by lists that the configuration fills.
//!
//! A name that is in no list means nothing: it is written into the history and changes nothing.

use serde_json::Value;

/// The names of the OpenAPI snapshot (`ExternalNodeStatus`), in its order: a bare number is a position here.
pub const KNOWN_STATUSES: [&str; 18] = [
    "NONE",
    "DRAFT",
    "IN_PROCESS",
    "IN_PROCESS_BY_SENDER",
    "REJECTED_BY_SENDER_EMPLOYEE",
    "SENT_BY_SENDER",
    "RECALLED_BY_SENDER",
    "IN_NEW",
    "IN_PROCESS_BY_RECIPIENT",
    "REJECTED_BY_RECIPIENT_EMPLOYEE",
    "FINISHED",
    "REJECTED_BY_RECIPIENT",
    "REJECTED_BY_COMPANY",
    "WAITING_FOR_SENDER",
    "REJECTED_BY_SENDER",
    "REJECTED_BY_EMPLOYEE",
    "FINISHED_BY_COMPANY",
    "FINISHED_EDITABLE",
];

/// Longest name of a status that is kept.
const STATUS_CHARS_MAX: usize = 100;

/// What a status means to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StatusClass {
    /// Our signer has not signed: it was not sent.
    NotSent,
    /// It is under way.
    InWork,
    /// Signed by everybody.
    Success,
    /// Refused.
    Refused,
    /// Taken back by our side.
    Withdrawn,
    /// A name that we know, and nobody knows what it means: a person is asked.
    Unsure,
    /// A name that we do not know.
    Unknown,
}

/// A status with its meaning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// What it means.
    pub class: StatusClass,
    /// As it was written; numbers in digits.
    pub raw: String,
}

/// Which names and numbers have which meaning, compared exactly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusLists {
    /// [`StatusClass::NotSent`].
    pub not_sent: Vec<String>,
    /// [`StatusClass::InWork`].
    pub in_work: Vec<String>,
    /// [`StatusClass::Success`].
    pub success: Vec<String>,
    /// [`StatusClass::Refused`].
    pub refused: Vec<String>,
    /// [`StatusClass::Withdrawn`].
    pub withdrawn: Vec<String>,
    /// [`StatusClass::Unsure`].
    pub unsure: Vec<String>,
}

impl StatusLists {
    /// The meaning of a status as it was written.
    pub fn meaning(&self, raw: &str) -> Status {
        let lists = [
            (&self.not_sent, StatusClass::NotSent),
            (&self.in_work, StatusClass::InWork),
            (&self.success, StatusClass::Success),
            (&self.refused, StatusClass::Refused),
            (&self.withdrawn, StatusClass::Withdrawn),
            (&self.unsure, StatusClass::Unsure),
        ];
        let found = lists.into_iter().find(|(list, _)| list.iter().any(|name| name == raw));
        let raw = raw.chars().filter(|c| !c.is_control()).take(STATUS_CHARS_MAX).collect();
        Status { class: found.map_or(StatusClass::Unknown, |(_, class)| class), raw }
    }

    /// The meaning of a member of an answer: a name, or a bare number; none for anything else.
    pub(super) fn of(&self, value: &Value) -> Option<Status> {
        match value {
            Value::String(name) if !name.trim().is_empty() => Some(self.meaning(name.trim())),
            Value::Number(number) => Some(self.meaning(&number.to_string())),
            Value::String(_) | Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        }
    }
}

impl Default for StatusLists {
    /// As `default.toml` has it.
    fn default() -> Self {
        let both = |numbers: &[usize]| {
            numbers.iter().flat_map(|&n| [KNOWN_STATUSES[n].to_owned(), n.to_string()]).collect()
        };
        Self {
            not_sent: both(&[0, 1]),
            in_work: both(&[2, 3, 5, 7, 8, 13]),
            success: both(&[10, 16]),
            refused: both(&[11, 12, 14, 15]),
            withdrawn: both(&[6]),
            unsure: both(&[4, 9, 17]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_known_status_has_one_meaning_by_name_and_by_number() {
        let lists = StatusLists::default();
        for (number, name) in KNOWN_STATUSES.iter().enumerate() {
            let by_name = lists.meaning(name).class;
            assert_ne!(by_name, StatusClass::Unknown, "{name}");
            assert_eq!(lists.of(&json!(number)).unwrap().class, by_name, "{name}");
            assert_eq!(lists.of(&json!(number.to_string())).unwrap().class, by_name, "{name}");
        }
        let all = [
            &lists.not_sent,
            &lists.in_work,
            &lists.success,
            &lists.refused,
            &lists.withdrawn,
            &lists.unsure,
        ];
        assert_eq!(all.iter().map(|list| list.len()).sum::<usize>(), 2 * KNOWN_STATUSES.len());
    }

    #[test]
    fn names_are_compared_exactly_and_the_rest_is_unknown() {
        let lists = StatusLists::default();
        for odd in ["finished", "FINISHED_LATER", "NOT_FINISHED", "18", "-1", "10.5"] {
            assert_eq!(lists.meaning(odd).class, StatusClass::Unknown, "{odd}");
        }
        for nothing in [json!(null), json!(""), json!(true), json!([10]), json!({})] {
            assert_eq!(lists.of(&nothing), None, "{nothing}");
        }
        assert_eq!(lists.meaning(&"Ж\n".repeat(500)).raw, "Ж".repeat(STATUS_CHARS_MAX));
    }
}
