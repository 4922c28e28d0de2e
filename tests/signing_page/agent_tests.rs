//! The page in a real browser against an emulated signing agent.

use crate::browser::Browser;
use crate::ncalayer::{Manner, Ncalayer};
use crate::pki::{self, people};
use crate::site::{Site, Wishes};
use crate::support::free_address;
use edobridge::domain::signing::{Encapsulation, SigningTask};

const CONTENT: &[u8] = b"%PDF-1.4 a small contract";

/// A site, an agent with Aigul's key, and a browser.
struct Scene {
    browser: Browser,
    agent: Ncalayer,
    site: Site,
}

fn agent(manner: Manner, signer: &'static pki::Signer) -> Ncalayer {
    let sign =
        move |content: &[u8], attached: bool| signer.sign(content, pki::Manner { attached, more: &[] });
    let own = &people().on_p256;
    Ncalayer::start(manner, &own.certificate, &own.key, Box::new(sign))
}

impl Scene {
    fn new(manner: Manner) -> Option<Self> {
        Self::with(manner, &people().aigul)
    }

    fn with(manner: Manner, signer: &'static pki::Signer) -> Option<Self> {
        let browser = Browser::start(900, 900)?;
        let agent = agent(manner, signer);
        let site = Site::start(&Wishes { agent_url: agent.url(), ..Wishes::default() });
        Some(Self { browser, agent, site })
    }

    fn add(&self, name: &str, content: &[u8]) -> (SigningTask, String) {
        self.site.desk.add(name, content, Encapsulation::Attached)
    }

    fn open(&self, token: &str, language: &str) {
        self.browser.open(&format!("http://{}/sign/{token}?lang={language}", self.site.address));
        self.browser.ready();
    }
}

/// A scene, or the end of the test where there is no browser.
macro_rules! scene {
    ($scene:expr) => {
        match $scene {
            Some(scene) => scene,
            None => return,
        }
    };
}

#[test]
fn a_person_signs_with_one_press_and_sees_that_it_is_done() {
    let scene = scene!(Scene::new(Manner::Present));
    let (task, token) = scene.add("Договор поставки № 7 от 21.11.2026.pdf", CONTENT);
    scene.open(&token, "ru");
    scene.browser.picture("01-open-ru");
    assert!(scene.agent.requests().is_empty(), "nothing is asked of the agent before a press");
    scene.browser.press("#sign");
    let told = scene.browser.told("ok");
    assert!(told.contains("документ подписан"), "{told}");
    scene.browser.picture("02-signed-ru");
    let stored = scene.site.desk.stored();
    assert_eq!((stored.len(), stored[0].document), (1, task.unit.document));
    assert!(stored[0].evidence.signature_checked);
    let requests = scene.agent.requests();
    let sign = &requests.last().expect("it was asked")["args"];
    assert_eq!(sign["signerParams"]["iin"], pki::IIN);
    assert_eq!(sign["signerParams"]["extKeyUsageOids"][0], "1.3.6.1.5.5.7.3.4");
    assert_eq!((&sign["locale"], &sign["format"]), (&"ru".into(), &"cms".into()));
    assert_eq!(
        scene.browser.script("return document.activeElement.id"),
        "status",
        "the focus is on the news"
    );
    let none: [String; 0] = [];
    assert_eq!(scene.browser.complaints(), none, "neither the policy nor the script is at odds with itself");
    // closed and opened again: the page knows
    scene.open(&token, "ru");
    assert!(scene.browser.text("main").contains("Документ подписан"));
    scene.browser.picture("03-reopened-ru");
}

#[test]
fn the_keyboard_alone_is_enough_and_kazakh_is_spoken_to_the_agent_too() {
    let scene = scene!(Scene::new(Manner::Base64));
    let (_, token) = scene.add("Шарт.pdf", CONTENT);
    scene.open(&token, "kk");
    // languages, the file, then the button
    for _ in 0..8 {
        if scene.browser.script("return document.activeElement.id") == "sign" {
            break;
        }
        scene.browser.keys("\u{e004}");
    }
    scene.browser.keys("\u{e007}");
    let told = scene.browser.told("ok");
    assert!(told.contains("қол қойылды"), "{told}");
    scene.browser.picture("04-signed-kk");
    let requests = scene.agent.requests();
    assert_eq!(requests.last().expect("it was asked")["args"]["locale"], "kk");
    assert_eq!(scene.site.desk.stored().len(), 1);
}

#[test]
fn several_documents_are_signed_in_one_dialogue() {
    let scene = scene!(Scene::new(Manner::Present));
    let (_, token) = scene.add("1.pdf", b"one");
    scene.add("2.pdf", b"two");
    let (third, _) = scene.add("3.pdf", b"three");
    scene.open(&token, "en");
    scene.browser.press(&format!("[data-document='{}'] input", third.unit.document));
    scene.browser.press("#sign");
    let told = scene.browser.told("ok");
    assert!(told.contains("Documents signed: 2") && told.contains("page: 1"), "{told}");
    scene.browser.picture("05-several-en");
    let boxes = "return [...document.querySelectorAll('[data-document] input')].filter(e => e.checkVisibility()).length";
    assert_eq!(scene.browser.script(boxes), 1, "what is signed cannot be marked again");
    assert_eq!(scene.agent.asked("kz.gov.pki.knca.basics"), 1, "one dialogue for both");
    let signed: Vec<_> = scene.site.desk.stored().iter().map(|signed| signed.document).collect();
    assert!(signed.len() == 2 && !signed.contains(&third.unit.document), "an unmarked one is left alone");
}

#[test]
fn while_an_unmarked_document_waits_nobody_is_told_to_close_the_page() {
    let scene = scene!(Scene::new(Manner::Present));
    for (language, so_far, close) in [
        ("ru", "Ещё ждут подписи на этой странице: 1", "закрыть"),
        ("kk", "Осы бетте қол қоюды күтіп тұрғаны: 1", "жабуға"),
        ("en", "Still waiting on this page: 1", "close"),
    ] {
        scene.site.desk.forget_all();
        let (_, token) = scene.add("1.pdf", format!("one {language}").as_bytes());
        let (second, _) = scene.add("2.pdf", format!("two {language}").as_bytes());
        scene.open(&token, language);
        scene.browser.press(&format!("[data-document='{}'] input", second.unit.document));
        scene.browser.press("#sign");
        let told = scene.browser.told("ok");
        assert!(told.contains(so_far) && !told.contains(close), "{told}");
        // and when the last one is signed too, they are
        scene.browser.press(&format!("[data-document='{}'] input", second.unit.document));
        scene.browser.press("#sign");
        scene.browser.wait("the end", || scene.browser.told("ok").contains(close));
    }
}

#[test]
fn a_signer_whom_nobody_can_send_a_link_is_told_whom_to_ask() {
    let scene = scene!(Scene::new(Manner::Present));
    let (_, token) = scene.add("Договор.pdf", CONTENT);
    scene.site.desk.after_the_link();
    scene.site.desk.forget_user();
    for (language, word) in [("ru", "нет пользователя"), ("kk", "пайдаланушысы жоқ"), ("en", "has no user")]
    {
        scene.open(&token, language);
        scene.browser.press("#renew");
        let told = scene.browser.told("note");
        assert!(told.contains(word), "{told}");
    }
}

#[test]
fn an_agent_that_cannot_sign_lists_is_asked_one_by_one() {
    for manner in [Manner::ArrayAsText, Manner::NoArrays, Manner::Old, Manner::Kaztoken] {
        let scene = scene!(Scene::new(manner));
        let (_, token) = scene.add("1.pdf", b"one");
        scene.add("2.pdf", b"two");
        scene.open(&token, "en");
        scene.browser.press("#sign");
        let told = scene.browser.told("ok");
        assert!(told.contains("documents signed: 2"), "{manner:?}: {told}");
        assert_eq!(scene.site.desk.stored().len(), 2, "{manner:?}");
    }
}

#[test]
fn what_goes_wrong_at_the_agent_is_told_apart_and_may_be_tried_again() {
    let scene = scene!(Scene::new(Manner::Cancels));
    let (_, token) = scene.add("Договор.pdf", CONTENT);
    scene.open(&token, "ru");
    for (manner, kind, reason, word) in [
        (Manner::Cancels, "note", "cancelled", "отменено"),
        (Manner::Fails, "bad", "failed", "сообщил об ошибке"),
        (Manner::Closes, "bad", "closed", "закрылся"),
        (Manner::Silent, "bad", "silent", "не отвечает"),
        (Manner::OldCancels, "note", "cancelled", "отменено"),
    ] {
        scene.agent.behave(manner);
        scene.browser.script("document.getElementById('status').hidden = true");
        scene.browser.press("#sign");
        let told = scene.browser.told(kind);
        assert!(told.contains(word), "{manner:?}: {told}");
        assert_eq!(scene.browser.script("return document.getElementById('status').dataset.reason"), reason);
        scene.browser.picture(&format!("06-{reason}"));
    }
    assert!(scene.site.desk.stored().is_empty());
    scene.agent.behave(Manner::Present);
    scene.browser.press("#sign");
    scene.browser.told("ok");
    assert_eq!(scene.site.desk.stored().len(), 1);
}

#[test]
fn an_absent_agent_is_named_with_the_remedy() {
    let scene = scene!(Scene::new(Manner::Present));
    let nobody = format!("wss://{}/", free_address());
    let site = Site::start(&Wishes { agent_url: nobody, ..Wishes::default() });
    let (_, token) = site.desk.add("Договор.pdf", CONTENT, Encapsulation::Attached);
    scene.browser.open(&format!("http://{}/sign/{token}?lang=ru", site.address));
    scene.browser.ready();
    scene.browser.press("#sign");
    let told = scene.browser.told("bad");
    assert!(told.contains("NCALayer не найден"), "{told}");
    scene.browser.picture("07-absent");
}

#[test]
fn a_permission_that_the_browser_refuses_is_told_from_an_absent_agent() {
    let scene = scene!(Scene::new(Manner::Present));
    let (_, token) = scene.add("Договор.pdf", CONTENT);
    scene.open(&token, "ru");
    // the browser's own way to refuse it, or where its driver does not know the name, its answer to the page
    if scene.browser.permit("loopback-network", "denied").is_none() {
        scene.browser.script("navigator.permissions.query = async () => ({ state: 'denied' })");
    }
    scene.browser.press("#sign");
    let told = scene.browser.told("bad");
    assert!(told.contains("Браузер не пускает"), "{told}");
    scene.browser.picture("08-permission");
    assert!(scene.agent.requests().is_empty());
}

#[test]
fn a_wrong_key_is_refused_by_the_server_and_another_may_be_chosen() {
    let scene = scene!(Scene::with(Manner::Present, &people().stranger));
    let (_, token) = scene.add("Договор.pdf", CONTENT);
    scene.open(&token, "ru");
    scene.browser.press("#sign");
    let told = scene.browser.told("bad");
    assert!(told.contains("чужой ключ") && told.contains("4444"), "{told}");
    scene.browser.picture("09-wrong-key");
    assert!(scene.site.desk.stored().is_empty());
    assert_eq!(scene.browser.script("return document.getElementById('sign').disabled"), false);
}

#[test]
fn of_two_tabs_the_first_signature_wins_and_the_second_is_told() {
    // no two signatures of ECDSA are the same
    let scene = scene!(Scene::with(Manner::Present, &people().on_p256));
    let (_, token) = scene.add("Договор.pdf", CONTENT);
    scene.open(&token, "ru");
    let first = scene.browser.second_tab();
    scene.open(&token, "ru");
    scene.browser.press("#sign");
    scene.browser.told("ok");
    scene.browser.turn_to(&first);
    scene.browser.press("#sign");
    let told = scene.browser.told("bad");
    assert!(told.contains("в другой вкладке"), "{told}");
    assert_eq!(scene.site.desk.stored().len(), 1);
}

#[test]
fn a_page_that_was_closed_with_the_dialogue_open_is_opened_again_and_signed() {
    let scene = scene!(Scene::new(Manner::Dawdles));
    let (_, token) = scene.add("Договор.pdf", CONTENT);
    scene.open(&token, "ru");
    scene.browser.press("#sign");
    scene.browser.wait("the dialogue is open", || scene.agent.asked("kz.gov.pki.knca.basics") == 1);
    scene.browser.picture("14-dialogue");
    assert_eq!(scene.browser.script("return document.getElementById('sign').disabled"), true);
    scene.browser.open("about:blank");
    assert!(scene.site.desk.stored().is_empty());
    scene.agent.behave(Manner::Present);
    scene.open(&token, "ru");
    scene.browser.press("#sign");
    scene.browser.told("ok");
    assert_eq!(scene.site.desk.stored().len(), 1);
}

#[test]
fn a_link_that_ends_while_the_page_is_open_offers_a_new_one() {
    let scene = scene!(Scene::new(Manner::Present));
    let (task, token) = scene.add("Договор.pdf", CONTENT);
    scene.open(&token, "ru");
    scene.site.desk.after_the_link();
    scene.browser.press("#sign");
    let told = scene.browser.told("bad");
    assert!(told.contains("Срок ссылки истёк"), "{told}");
    scene.browser.picture("10-expired-open");
    scene.browser.press("#renew");
    assert!(scene.browser.told("ok").contains("Новая ссылка"));
    assert_eq!(scene.site.desk.renewed(), [task.unit.document]);
    // and opened after its end
    scene.open(&token, "kk");
    scene.browser.picture("11-expired-kk");
    scene.browser.press("#renew");
    scene.browser.told("ok");
    assert_eq!(scene.site.desk.renewed().len(), 2);
}

#[test]
fn an_answer_that_was_lost_costs_no_second_signature() {
    let scene = scene!(Scene::new(Manner::Present));
    let (_, token) = scene.add("Договор.pdf", CONTENT);
    scene.open(&token, "ru");
    // the first answers to the POST are lost on the way, after the server has stored the signature
    scene.browser.script(
        "const real = window.fetch; let lost = 0; \
         window.fetch = async (url, options) => { \
           const answer = await real(url, options); \
           if (options?.method === 'POST' && lost < 5) { lost += 1; throw new TypeError('lost'); } \
           return answer; };",
    );
    scene.browser.press("#sign");
    let told = scene.browser.told("bad");
    assert!(told.contains("подписывать заново не нужно"), "{told}");
    assert_eq!(scene.browser.text("#sign"), "Отправить подпись ещё раз");
    scene.browser.picture("12-unsent");
    scene.browser.press("#sign");
    let told = scene.browser.told("ok");
    assert!(told.contains("уже подписан"), "{told}");
    assert_eq!(scene.site.desk.stored().len(), 1);
    assert_eq!(scene.agent.asked("kz.gov.pki.knca.basics"), 1, "the person signed once");
}

#[test]
fn a_small_window_shows_everything_without_scrolling_sideways() {
    let Some(browser) = Browser::start(340, 740) else { return };
    let agent = agent(Manner::Present, &people().aigul);
    let site = Site::start(&Wishes { agent_url: agent.url(), ..Wishes::default() });
    let (_, token) = site.desk.add(
        "Дополнительное_соглашение_о_неразглашении_и_поставке_оборудования_2026-11-22.pdf",
        CONTENT,
        Encapsulation::Detached,
    );
    site.desk.add("Второй.pdf", b"second", Encapsulation::Detached);
    browser.open(&format!("http://{}/sign/{token}?lang=kk", site.address));
    browser.ready();
    browser.picture("13-small");
    let overflow = "const wide = [...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth); \
                    return wide.map(e => e.tagName + '.' + e.className).join(' ')";
    assert_eq!(browser.script(overflow), "");
}

/// Texts whose contrast with what lies behind them is below 4.5 (WCAG 2.2, level AA).
const PALE: &str = "
    const parts = text => text.match(/[0-9.]+/g).map(Number);
    const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
        .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = e => {
        for (; e; e = e.parentElement) {
            const c = parts(getComputedStyle(e).backgroundColor);
            if (c.length === 3 || c[3] > 0) return c;
        }
        return [255, 255, 255];
    };
    const own = e => [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    const shown = e => e.checkVisibility() && !['SCRIPT', 'STYLE', 'TEMPLATE'].includes(e.tagName);
    const pale = [];
    for (const e of [...document.querySelectorAll('body *')].filter(e => own(e) && shown(e))) {
        const [a, b] = [light(parts(getComputedStyle(e).color)), light(behind(e))];
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (ratio < 4.5) pale.push(`${e.tagName}.${e.className} ${ratio.toFixed(2)}`);
    }
    return pale.join(' ')";

#[test]
fn in_the_dark_everything_can_be_read_and_nothing_is_left_white() {
    let scene = scene!(Scene::new(Manner::Present));
    let (_, token) = scene.add("Договор поставки № 7 от 21.11.2026.pdf", CONTENT);
    scene.open(&token, "ru");
    assert_eq!(scene.browser.script(PALE), "", "in the light");
    scene.browser.prefer_dark();
    let back = "return getComputedStyle(document.body).backgroundColor";
    assert_eq!(scene.browser.script(back), "rgb(18, 23, 29)");
    assert_eq!(scene.browser.script(PALE), "", "before the press");
    scene.browser.picture("15-dark-open");
    scene.browser.press("#sign");
    scene.browser.told("ok");
    assert_eq!(scene.browser.script(PALE), "", "signed");
    scene.browser.picture("16-dark-signed");
    // The control: the judge sees a pale text.
    scene.browser.script("document.querySelector('h1').style.color = '#334'");
    assert!(scene.browser.script(PALE).as_str().is_some_and(|pale| pale.starts_with("H1")));
}

#[test]
fn a_failure_is_readable_in_the_dark_on_a_telephone_of_360_pixels() {
    let Some(browser) = Browser::start(360, 760) else { return };
    let agent = agent(Manner::Cancels, &people().aigul);
    let site = Site::start(&Wishes { agent_url: agent.url(), ..Wishes::default() });
    let name = "Дополнительное_соглашение_о_неразглашении_и_поставке_оборудования_2026-11-22.pdf";
    let (_, token) = site.desk.add(name, CONTENT, Encapsulation::Attached);
    site.desk.add("Второй.pdf", b"second", Encapsulation::Attached);
    browser.open(&format!("http://{}/sign/{token}?lang=ru", site.address));
    browser.prefer_dark();
    browser.ready();
    browser.picture("17-dark-small");
    browser.press("#sign");
    browser.told("note");
    browser.script("document.getElementById('status').scrollIntoView()");
    browser.picture("18-dark-small-cancelled");
    assert_eq!(browser.script(PALE), "");
    let sideways = "return document.documentElement.scrollWidth - innerWidth";
    assert!(browser.script(sideways).as_i64().is_some_and(|over| over <= 0));
}
