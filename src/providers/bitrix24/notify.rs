//! Notices to people inside Bitrix24 (scope `im`, `api-reference/chats/notifications`).

use super::client::{Call, Caller};
use super::wire;
use crate::domain::{Failure, FailureClass, FailureKind, Text};
use serde_json::{Value, json};

/// By which method a portal takes system notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoticeMethod {
    /// `im.notify.system.add`.
    System,
    /// `im.notify` with `TYPE`: what boxes had before.
    Old,
}

/// The code of a method that the portal does not have.
const NO_METHOD: &str = "error_method_not_found";

/// Sends a system notice by whatever the portal has; see [`system_by`].
///
/// # Errors
/// As [`system_by`].
pub async fn system(
    caller: &dyn Caller,
    user_id: u64,
    text: &str,
    tag: &str,
    client_id: &str,
) -> Result<(), Failure> {
    match system_by(NoticeMethod::System, caller, user_id, text, tag, client_id).await {
        Err(failure) if failure.code == NO_METHOD => {
            system_by(NoticeMethod::Old, caller, user_id, text, tag, client_id).await
        }
        outcome => outcome,
    }
}

/// Sends a system notice. A later notice with the same `tag` replaces the earlier one, which makes a repeat harmless.
///
/// By a webhook the tag works only together with `client_id`, any constant of ours. `text` may hold BB code: what
/// comes from elsewhere must pass through [`plain`].
///
/// # Errors
/// `notice_refused` if the portal answers `false`: there is no such user, or the notice is off.
pub async fn system_by(
    method: NoticeMethod,
    caller: &dyn Caller,
    user_id: u64,
    text: &str,
    tag: &str,
    client_id: &str,
) -> Result<(), Failure> {
    let mut params = json!({ "USER_ID": user_id, "MESSAGE": text, "TAG": tag, "CLIENT_ID": client_id });
    let name = match method {
        NoticeMethod::System => "im.notify.system.add",
        NoticeMethod::Old => {
            params["TYPE"] = "SYSTEM".into();
            "im.notify"
        }
    };
    let answer = caller.call(Call::new(name, params)).await?;
    match answer {
        Value::Bool(true) => Ok(()),
        ref id if wire::id(id).is_some() => Ok(()),
        Value::Null
        | Value::Bool(false)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_) => Err(refused(user_id)),
    }
}

fn refused(user_id: u64) -> Failure {
    let reason = Text::new(
        format!("Портал не доставил уведомление сотруднику {user_id}. Проверьте, что он есть и работает."),
        format!(
            "The portal did not deliver the notice to user {user_id}. Check that the user exists and is active."
        ),
    );
    Failure::new(FailureClass::Permanent, FailureKind::Refused, "notice_refused", reason)
}

/// A text from elsewhere as it may stand in a message: it looks the same, and is no BB code any more.
///
/// A zero-width space after `[` breaks every tag without changing what people read.
pub fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || *c == '\n').collect::<String>().replace('[', "[\u{200b}")
}

#[cfg(test)]
mod tests {
    use super::super::account::tests::Scripted;
    use super::*;

    #[tokio::test]
    async fn a_notice_carries_its_tag_and_our_name() {
        let portal = Scripted::ok([json!(12), json!("12"), json!(true)]);
        for _ in 0..3 {
            system(&portal, 17, "готово", "edo-1", "edobridge").await.unwrap();
        }
        let call = portal.calls().remove(0);
        assert_eq!(call.method, "im.notify.system.add");
        let expected = json!({"USER_ID": 17, "MESSAGE": "готово", "TAG": "edo-1", "CLIENT_ID": "edobridge"});
        assert_eq!(call.params, expected);
    }

    #[tokio::test]
    async fn an_old_box_gets_its_notices_by_the_old_method() {
        let missing = Err(super::super::error::from_code(404, NO_METHOD, None, ""));
        let portal = Scripted::new([missing, Ok(json!(5)), Ok(json!(6))]);
        system(&portal, 17, "готово", "t", "c").await.unwrap();
        system_by(NoticeMethod::Old, &portal, 17, "готово", "t", "c").await.unwrap();
        let calls = portal.calls();
        let methods: Vec<_> = calls.iter().map(|call| call.method.as_ref()).collect();
        assert_eq!(methods, ["im.notify.system.add", "im.notify", "im.notify"]);
        assert_eq!(calls[1].params["TYPE"], "SYSTEM");
    }

    #[tokio::test]
    async fn false_means_that_nobody_was_told() {
        for answer in [json!(false), json!(0), json!([])] {
            let failure = system(&Scripted::ok([answer]), 17, "x", "t", "c").await.unwrap_err();
            assert_eq!((failure.class, failure.code.as_str()), (FailureClass::Permanent, "notice_refused"));
        }
    }

    #[test]
    fn foreign_text_cannot_become_markup() {
        assert_eq!(plain("[URL=https://evil]x[/URL]\u{7}"), "[\u{200b}URL=https://evil]x[\u{200b}/URL]");
    }
}
