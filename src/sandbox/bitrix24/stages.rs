//! Stages and funnels: `crm.status.list`, `crm.category.list`.
//! Source: `api-reference/crm/status/**`, `api-reference/crm/universal/category/**` of the Bitrix24 docs.
//!
//! Invariants: every funnel has stages, the standard ones unless others were set; a stage of a deal's funnel N is
//! written `CN:…`, of a smart process `DT<type>_<funnel>:…`.

use super::bindings::given_value;
use super::crm::{DEAL, keys_of, parameter_missing};
use super::rows::{self, integer, text};
use super::wire::Answer;
use super::{Ctx, Outcome};
use serde_json::{Map, Value, json};

/// Name of a standard stage and what it means.
type Standard = (&'static str, &'static str);

const DEAL_STAGES: &[Standard] = &[
    ("NEW", "process"),
    ("PREPARATION", "process"),
    ("PREPAYMENT_INVOICE", "process"),
    ("EXECUTING", "process"),
    ("FINAL_INVOICE", "process"),
    ("WON", "success"),
    ("LOSE", "failure"),
    ("APOLOGY", "failure"),
];
const LEAD_STAGES: &[Standard] = &[
    ("NEW", "process"),
    ("IN_PROCESS", "process"),
    ("PROCESSED", "process"),
    ("CONVERTED", "success"),
    ("JUNK", "failure"),
];
const DYNAMIC_STAGES: &[Standard] = &[
    ("NEW", "process"),
    ("PREPARATION", "process"),
    ("CLIENT", "process"),
    ("SUCCESS", "success"),
    ("FAIL", "failure"),
];

pub(crate) fn status_list(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    let filter = given_value(params, "filter");
    let wanted = filter.and_then(|filter| filter.get("ENTITY_ID")).map(text);
    let directories = match wanted {
        Some(one) => vec![one],
        None => {
            let standard = ["STATUS", "DEAL_STAGE"].map(str::to_owned);
            standard.into_iter().chain(ctx.portal.stages.keys().cloned()).collect()
        }
    };
    let rows = directories.iter().flat_map(|directory| rows_of(ctx, directory)).collect();
    let page = rows::list(rows, params, &[], "SORT")?;
    Ok(page.answer(|rows| rows))
}

/// The stages of a directory, in their order; none if there is no such directory.
fn rows_of(ctx: &Ctx<'_>, directory: &str) -> Vec<Map<String, Value>> {
    let row = |n: usize, id: String, semantics: &str| {
        let short = match semantics {
            "success" => json!("S"),
            "failure" => json!("F"),
            _ => Value::Null,
        };
        let row = json!({
            "ID": (n + 100).to_string(), "ENTITY_ID": directory, "STATUS_ID": id, "NAME": id,
            "NAME_INIT": "", "SORT": ((n + 1) * 10).to_string(), "SYSTEM": "N", "SEMANTICS": short,
            "CATEGORY_ID": "0", "COLOR": "#22b9ff", "EXTRA": {"SEMANTICS": semantics},
        });
        row.as_object().cloned().unwrap_or_default()
    };
    if let Some(set) = ctx.portal.stages.get(directory) {
        return set.iter().enumerate().map(|(n, id)| row(n, id.clone(), "process")).collect();
    }
    let Some((prefix, standard)) = standard_of(directory) else { return Vec::new() };
    let named = standard.iter().enumerate();
    named.map(|(n, (name, semantics))| row(n, format!("{prefix}{name}"), semantics)).collect()
}

/// The standard stages of a directory and what stands before their names.
fn standard_of(directory: &str) -> Option<(String, &'static [Standard])> {
    match directory {
        "STATUS" => return Some((String::new(), LEAD_STAGES)),
        "DEAL_STAGE" => return Some((String::new(), DEAL_STAGES)),
        _ => {}
    }
    if let Some(funnel) = directory.strip_prefix("DEAL_STAGE_") {
        return Some((format!("C{funnel}:"), DEAL_STAGES));
    }
    let (entity_type, funnel) = match directory.strip_prefix("SMART_INVOICE_STAGE_") {
        Some(funnel) => ("31", funnel),
        None => directory.strip_prefix("DYNAMIC_")?.split_once("_STAGE_")?,
    };
    Some((format!("DT{entity_type}_{funnel}:"), DYNAMIC_STAGES))
}

/// The funnels that items are in, and the default one.
pub(crate) fn category_list(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    let wanted = params.get("entityTypeId").and_then(integer).and_then(|n| u32::try_from(n).ok());
    let wanted = wanted.ok_or_else(|| parameter_missing("entityTypeId"))?;
    let default = if wanted == DEAL { 0 } else { 1 };
    let items = keys_of(ctx, wanted, None).into_iter().filter_map(|key| ctx.portal.items.get(&key));
    let mut ids: Vec<i64> = items.filter_map(|item| item.plain("categoryId").and_then(integer)).collect();
    ids.push(default);
    ids.sort_unstable();
    ids.dedup();
    let rows: Vec<Value> = ids
        .iter()
        .map(|id| {
            json!({
                "id": id, "name": format!("Воронка {id}"), "sort": 500, "entityTypeId": wanted,
                "isDefault": if *id == default { "Y" } else { "N" },
            })
        })
        .collect();
    let total = rows.len();
    Ok(Answer { total: Some(total), ..Answer::of(json!({"categories": rows})) })
}
