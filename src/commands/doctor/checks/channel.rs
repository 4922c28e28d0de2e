//! The second channel of a portal: whether it runs, when it looked last, and how late it is. Only the running service
//! knows.

use crate::commands::doctor::finding::{Finding, Verdict};
use crate::domain::{Text, Timestamp};
use crate::http::operator_view::ChannelLine;

/// A look that is later than so many of its intervals is late.
const LATE_INTERVALS: u64 = 5;
/// A shorter delay is no matter, whatever the interval.
const LATE_MS_MIN: u64 = 5 * 60_000;

/// What there is to say of the second channel of a portal.
pub fn of_line(portal: &str, line: &ChannelLine, now: Timestamp) -> Vec<Finding> {
    let named = |ru: String, en: String| Text::new(format!("{portal}: {ru}"), format!("{portal}: {en}"));
    if let Some(why) = &line.idle {
        let verdict = if line.mode == "off" { Verdict::Warning } else { Verdict::Ok };
        return vec![Finding::of(
            verdict,
            "channel",
            named(
                format!("второй канал не работает: {}", why.ru),
                format!("the second channel does not run: {}", why.en),
            ),
        )];
    }
    let running = line.running.join(", ");
    let woken = line.woken_at.clone().unwrap_or_else(|| "—".to_owned());
    let looked = line.looked_at.clone().unwrap_or_else(|| "—".to_owned());
    let facts = Text::new(
        format!(
            "второй канал ({}): {running}; последний просмотр {looked}, последнее пробуждение {woken}",
            line.mode
        ),
        format!("second channel ({}): {running}; last look {looked}, last wake {woken}", line.mode),
    );
    if let Some(why) = &line.failure {
        return vec![
            Finding::problem(
                "channel",
                named(facts.ru.clone(), facts.en.clone()).ru + &format!(". Сейчас не читается: {why}"),
                named(facts.ru, facts.en).en + &format!(". It cannot be read now: {why}"),
            )
            .fix(
                "Проверьте доступ к порталу и права приложения или вебхука; до тех пор потерянное событие не найдётся.",
                "Check the way to the portal and the scopes of the application or the webhook; until then an event that is lost is not found.",
            ),
        ];
    }
    let late_ms = late_ms(line, now);
    if late_ms > 0 {
        let minutes = late_ms / 60_000;
        return vec![Finding::of(
            Verdict::Warning,
            "channel",
            named(
                format!("{}. Отстаёт на {minutes} мин.", facts.ru),
                format!("{}. It is {minutes} min late.", facts.en),
            ),
        )];
    }
    vec![Finding::of(Verdict::Ok, "channel", named(format!("{}.", facts.ru), format!("{}.", facts.en)))]
}

/// How late the next look is, in milliseconds; zero within bounds, and before the first look.
fn late_ms(line: &ChannelLine, now: Timestamp) -> u64 {
    let (Some(interval_ms), Some(looked_at)) = (line.interval_ms, &line.looked_at) else { return 0 };
    let Ok(looked_at) = looked_at.parse::<jiff::Timestamp>() else { return 0 };
    let age_ms = now.ms_since(Timestamp(looked_at.as_millisecond()));
    let bound_ms = interval_ms.saturating_mul(LATE_INTERVALS).max(LATE_MS_MIN);
    if age_ms > bound_ms { age_ms - interval_ms } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> ChannelLine {
        ChannelLine {
            mode: "auto".into(),
            running: vec!["offline_queue".into()],
            idle: None,
            interval_ms: Some(30_000),
            looked_at: Some("2026-01-01T00:00:00Z".into()),
            found_at: None,
            woken_at: None,
            failure: None,
        }
    }

    fn judged(line: &ChannelLine, after_ms: u64) -> (Verdict, String) {
        let now = Timestamp(1_767_225_600_000).plus_ms(after_ms);
        let finding = of_line("main", line, now).remove(0);
        (finding.verdict, finding.text.en)
    }

    #[test]
    fn a_channel_is_judged_by_its_last_look() {
        assert_eq!(judged(&line(), 60_000).0, Verdict::Ok);
        let (verdict, text) = judged(&line(), 20 * 60_000);
        assert!(verdict == Verdict::Warning && text.contains("19 min late"), "{text}");
        let (verdict, text) = judged(&ChannelLine { failure: Some("no rights".into()), ..line() }, 0);
        assert!(verdict == Verdict::Problem && text.contains("no rights"), "{text}");
        let idle = Some(Text::new("выключен", "it is off"));
        assert_eq!(
            judged(&ChannelLine { mode: "off".into(), idle: idle.clone(), ..line() }, 0).0,
            Verdict::Warning
        );
        assert_eq!(judged(&ChannelLine { idle, ..line() }, 0).0, Verdict::Ok);
    }
}
