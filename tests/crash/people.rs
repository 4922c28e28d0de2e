//! The people around a storm: a director who signs by the links in his notices, and an operator who does what dead
//! letters ask for.
//!
//! Both use nothing but what people have: notices, pages, the operator's API, the cabinet of the signing service.

use super::history::{Search, stem_in};
use super::support::Stage;
use super::support::kazakhstan::{DIRECTOR_IIN, OUR_BIN};
use super::wire::{self, Heard};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use edobridge::sandbox::signer::ScriptedSigner;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

// ---- the director ------------------------------------------------------------------------------------------------

/// Signs what he is sent, once for each content: a lost answer is met with the same signature, as a browser's repeat.
pub struct Director<'s> {
    stage: &'s Stage,
    user: u64,
    signer: ScriptedSigner,
    /// Links that have nothing left to be signed.
    done: BTreeSet<String>,
    signatures: BTreeMap<(String, u32), String>,
}

impl<'s> Director<'s> {
    pub fn new(stage: &'s Stage, user: u64) -> Self {
        let signer = ScriptedSigner::new(DIRECTOR_IIN, OUR_BIN);
        Self { stage, user, signer, done: BTreeSet::new(), signatures: BTreeMap::new() }
    }

    /// Follows the newest link of each document that is not signed yet.
    pub fn look(&mut self) {
        let mut links: BTreeMap<String, String> = BTreeMap::new();
        for notice in self.stage.world.notices(self.user) {
            if let (Some(stem), Some(link)) = (stem_in(&notice.text), link_in(&notice.text)) {
                links.insert(stem.to_owned(), link);
            }
        }
        for link in links.into_values().filter(|link| !self.done.contains(link)).collect::<Vec<_>>() {
            if self.sign(&link).is_some_and(|settled| settled) {
                self.done.insert(link);
            }
        }
    }

    /// Whether nothing is left to be signed by this link; none if nobody answers.
    fn sign(&mut self, link: &str) -> Option<bool> {
        let page = self.get(link)?;
        if page.status != 200 {
            return Some(false);
        }
        let task = Task::first_on(&page.body)?;
        if task.state != "open" {
            return Some(true);
        }
        let cms = self.signature(link, &task)?;
        let body = json!({"documents": [{"document": task.document, "unit": task.unit, "cms": cms}]});
        let request = wire::post(link, &[("Content-Type", wire::JSON)], body.to_string().as_bytes());
        let heard = wire::send(self.stage.public, &request)?;
        let rows: Value = serde_json::from_str(&heard.body).ok()?;
        Some(heard.status == 200 && rows["documents"][0]["accepted"] == json!(true))
    }

    fn signature(&mut self, link: &str, task: &Task) -> Option<String> {
        let key = (task.document.clone(), task.unit);
        if let Some(cms) = self.signatures.get(&key) {
            return Some(cms.clone());
        }
        let content = self.content(&format!("{link}/content/{}", task.document))?;
        let cms = STANDARD.encode(self.signer.sign_attached(&content));
        self.signatures.insert(key, cms.clone());
        Some(cms)
    }

    fn get(&self, path: &str) -> Option<Heard> {
        wire::send(self.stage.public, &get_request(path))
    }

    /// The bytes to be signed, whole or not at all.
    fn content(&self, path: &str) -> Option<Vec<u8>> {
        let answer = wire::raw(self.stage.public, &get_request(path))?;
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
        let length: usize =
            head.lines().find_map(|l| l.strip_prefix("content-length:")?.trim().parse().ok())?;
        let body = answer.get(end + 4..)?;
        (head.starts_with("http/1.1 200") && body.len() == length).then(|| body.to_vec())
    }
}

fn get_request(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: edo.example\r\nConnection: close\r\n\r\n").into_bytes()
}

fn link_in(text: &str) -> Option<String> {
    let start = text.find("/sign/")?;
    Some(text[start..].chars().take_while(|c| !c.is_whitespace()).collect())
}

/// A document on the signing page.
struct Task {
    document: String,
    unit: u32,
    state: String,
}

impl Task {
    /// The document that the link was sent for stands first.
    fn first_on(page: &str) -> Option<Self> {
        let article = &page[page.find("<article")?..];
        let value = |name: &str| {
            let after = article.split_once(&format!("{name}=\""))?.1;
            after.split_once('"').map(|(value, _)| value.to_owned())
        };
        let unit = value("data-unit")?.parse().ok()?;
        Some(Self { document: value("data-document")?, unit, state: value("data-state")? })
    }
}

// ---- the operator ------------------------------------------------------------------------------------------------

/// How busy the service is, as its operator sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Business {
    /// Documents under way, notices that wait, calls that run.
    pub live: u64,
    /// Documents stopped for a person.
    pub stopped: u64,
}

/// A document that is stopped for a person.
#[derive(Debug, Clone)]
pub struct Stopped {
    pub document: String,
    pub name: String,
    pub code: String,
}

/// Whoever reads the list of dead letters.
pub struct Operator<'s> {
    stage: &'s Stage,
    search: Search,
}

impl<'s> Operator<'s> {
    pub fn new(stage: &'s Stage, search: Search) -> Self {
        Self { stage, search }
    }

    /// What there is to do; none if nobody answers.
    pub fn business(&self) -> Option<Business> {
        let counts = self.ask("counts")?;
        let mut business = Business { live: 0, stopped: 0 };
        for step in counts["steps"].as_array()? {
            let count = step["count"].as_u64()?;
            match step["step"].as_str()? {
                "delivered" | "refused" | "ignored" | "cancelled" => {}
                "parked" => business.stopped += count,
                _ => business.live += count,
            }
        }
        business.live += counts["notices"].as_u64()? + counts["in_flight"].as_u64()?;
        Some(business)
    }

    /// How many documents there are, whatever became of them; none if nobody answers.
    pub fn known(&self) -> Option<u64> {
        self.ask("counts")?["steps"].as_array()?.iter().map(|step| step["count"].as_u64()).sum()
    }

    /// All dead letters; none if the list cannot be read to its end.
    pub fn dead_letters(&self) -> Option<Vec<Stopped>> {
        let mut found = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = self.ask(&format!("documents?step=parked&limit=500{cursor}"))?;
            for line in page["items"].as_array()? {
                let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
                let (document, name, code) = (text("id"), text("name"), text("dead_letter_code"));
                found.push(Stopped { document, name, code });
            }
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Some(found),
            }
        }
    }

    /// Does what the dead letter asks for, and says what it was.
    pub fn help(&self, stopped: &Stopped) -> String {
        let (order, body) = self.remedy(stopped);
        let path = format!("/admin/v1/documents/{}/{order}", stopped.document);
        let bearer = format!("Bearer {}", self.stage.secrets().operator);
        let headers = [("Content-Type", wire::JSON), ("Authorization", &bearer)];
        let heard =
            wire::send(self.stage.operator, &wire::post(&path, &headers, body.to_string().as_bytes()));
        let status = heard.map_or_else(|| "no answer".to_owned(), |heard| heard.status.to_string());
        format!("{order}: {status}")
    }

    /// A create of unknown outcome that nobody can be asked about: look into the cabinet of the service.
    fn remedy(&self, stopped: &Stopped) -> (&'static str, Value) {
        if stopped.code != "create_unknown" || self.search == Search::On {
            return ("retry", json!({}));
        }
        let stem = stem_in(&stopped.name);
        let documents = self.stage.world.documents();
        let there = documents.iter().find(|document| stem.is_some() && stem_in(&document.file_name) == stem);
        match there {
            Some(document) => ("bind", json!({"document_id": document.id})),
            None => ("send-again", json!({})),
        }
    }

    fn ask(&self, path: &str) -> Option<Value> {
        let heard = wire::admin(self.stage.operator, &self.stage.secrets().operator, path)?;
        if heard.status == 200 { serde_json::from_str(&heard.body).ok() } else { None }
    }
}
