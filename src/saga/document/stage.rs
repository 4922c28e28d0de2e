//! Whether a CRM item may be moved to a stage: never over a person's hand, never backwards.

use super::event::StageKept;

/// What is done with the item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StageMove {
    /// It is moved.
    Go,
    /// It stands there already.
    Reached,
    /// It is left where it stands.
    Keep(StageKept),
}

/// Decides about an item that stands in `present` and should go to `wanted`.
///
/// `leave` are the stages that it may be moved out of, `order` the stages of its funnel from first to last.
pub fn decide(present: &str, wanted: &str, leave: &[String], order: &[String]) -> StageMove {
    if present == wanted {
        return StageMove::Reached;
    }
    let place = |stage: &str| order.iter().position(|known| known == stage);
    let Some(there) = place(wanted) else {
        return StageMove::Keep(StageKept::OtherFunnel);
    };
    // Told before "moved by others": that the item has come further is what people want to know.
    if place(present).is_some_and(|here| there < here) {
        return StageMove::Keep(StageKept::Backwards);
    }
    if !leave.iter().any(|stage| stage == present) {
        return StageMove::Keep(StageKept::MovedByOthers);
    }
    StageMove::Go
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_moved_forward_and_out_of_known_stages_only() {
        let order: Vec<String> = ["NEW", "SIGN", "PAY", "WON", "LOSE"].map(String::from).into();
        let leave = vec!["SIGN".to_owned()];
        for (present, wanted, expected) in [
            ("SIGN", "PAY", StageMove::Go),
            ("SIGN", "LOSE", StageMove::Go),
            ("PAY", "PAY", StageMove::Reached),
            ("NEW", "PAY", StageMove::Keep(StageKept::MovedByOthers)),
            ("WON", "PAY", StageMove::Keep(StageKept::Backwards)),
            ("SIGN", "NEW", StageMove::Keep(StageKept::Backwards)),
            ("SIGN", "C2:PAY", StageMove::Keep(StageKept::OtherFunnel)),
            ("C2:SIGN", "PAY", StageMove::Keep(StageKept::MovedByOthers)),
        ] {
            assert_eq!(decide(present, wanted, &leave, &order), expected, "{present} -> {wanted}");
        }
    }
}
