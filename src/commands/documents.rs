//! `edobridge documents …`: what is under way, why it stands still, and orders to single documents.

use super::ExitStatus;
use super::client::{ClientError, Context};
use super::output::Output;
use super::table::{harmless, sheet, table};
use crate::config::Environment;
use crate::domain::{SagaId, Text};
use crate::http::admin_request::{
    BindRequest, CancelRequest, DocumentQuery, RetryRequest, SendRequest, SignLinkRequest, SourceRequest,
};
use crate::http::document_view::{DocumentCard, DocumentLine, FileView};
use crate::http::operator_view::DocumentList;
use crate::saga::document::{Announcement, Step};
use clap::builder::PossibleValuesParser;
use clap::{ArgGroup, Args, Subcommand};

/// Documents on their way through signing.
#[derive(Debug, Clone, Args)]
pub struct DocumentsArgs {
    /// What to do.
    #[command(subcommand)]
    pub verb: DocumentsVerb,
}

/// What to do with documents.
#[derive(Debug, Clone, Subcommand)]
pub enum DocumentsVerb {
    /// Lists documents, step by step, newest first
    #[command(after_help = "Examples:
  edobridge documents list
  edobridge documents list --step await_signature --portal main
  edobridge documents list --name contract --json")]
    List(ListArgs),
    /// Shows one document: where it stands, why it stands still, its whole history
    Show {
        /// Id of the document, from `documents list`
        id: SagaId,
    },
    /// Lets a stopped document go on with the step that failed, after you have mended what was wrong
    #[command(after_help = "Example, when the folder was deleted:
  edobridge documents retry 0198f00d-dead-beef-0123-456789abcdef --folder 812
When the CRM item is gone, so that its comment can never be written:
  edobridge documents retry 0198f00d-dead-beef-0123-456789abcdef --skip comment")]
    Retry(RetryArgs),
    /// Stops working on a document; what already exists at the signing service stays there
    Cancel {
        /// Id of the document
        id: SagaId,
        /// Why, for the history
        #[arg(long)]
        reason: String,
    },
    /// Sends a document by hand, as if its trigger had come
    #[command(after_help = "Examples:
  edobridge documents send --portal main --file 9043
  edobridge documents send --portal main --deal 501 --rule contracts
  edobridge documents send --portal main --item 1046:12
  edobridge documents send --portal main --deal 501 --field UF_CRM_1700000000 --field-file 9043")]
    Send(SendArgs),
    /// Creates the document at the signing service again, although the first create may have worked
    #[command(
        long_about = "Creates the document at the signing service again. Do this only after you have looked there \
and seen that the document does NOT exist: otherwise people will be asked to sign twice. If it does exist, use \
`documents bind`."
    )]
    SendAgain {
        /// Id of the document
        id: SagaId,
    },
    /// Says which document of the signing service this one is, when the answer to its create was lost
    Bind {
        /// Id of the document
        id: SagaId,
        /// The id that the signing service shows for it
        document_id: String,
    },
    /// Prints a link by which our signer signs a document that waits for them
    #[command(
        long_about = "Prints a link to the signing page, for a signer who has no user in Bitrix24 and so gets no \
notice. Hand it to that person only: whoever has it sees the document. It dies with the content that it is for; the \
history keeps who asked for it, never the link."
    )]
    SignLink {
        /// Id of the document
        id: SagaId,
        /// Who asks, for the history; without it the name of your account on this machine
        #[arg(long, value_name = "NAME")]
        asked_by: Option<String>,
    },
}

/// Which documents.
#[derive(Debug, Clone, Default, Args)]
pub struct FilterArgs {
    /// Only of this portal (its id in the configuration)
    #[arg(long, value_name = "ID")]
    pub portal: Option<String>,
    /// Only of this rule (its id in the configuration)
    #[arg(long, value_name = "ID")]
    pub rule: Option<String>,
    /// Only with this text in the file's name
    #[arg(long, value_name = "TEXT")]
    pub name: Option<String>,
    /// Only stopped with this code, as the list shows it
    #[arg(long, value_name = "CODE")]
    pub code: Option<String>,
    /// Only changed at this moment or later, as 2026-02-03T04:05:06Z
    #[arg(long, value_name = "MOMENT")]
    pub since: Option<String>,
    /// Only changed before this moment
    #[arg(long, value_name = "MOMENT")]
    pub until: Option<String>,
}

impl FilterArgs {
    /// The query of the admin API.
    pub fn query(&self) -> DocumentQuery {
        DocumentQuery {
            portal: self.portal.clone(),
            rule: self.rule.clone(),
            name: self.name.clone(),
            code: self.code.clone(),
            updated_from: self.since.clone(),
            updated_before: self.until.clone(),
            ..DocumentQuery::default()
        }
    }
}

/// Arguments of `documents list`.
#[derive(Debug, Clone, Args)]
pub struct ListArgs {
    /// Only in these steps, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "STEP", value_parser = step_names())]
    pub step: Vec<String>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would show it as help of the group")]
    pub filter: FilterArgs,
    /// How many at most
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub limit: u32,
}

/// Arguments of `documents retry`.
#[derive(Debug, Clone, Args)]
pub struct RetryArgs {
    /// Id of the document
    pub id: SagaId,
    /// Deliver the signed copy into this folder of the Drive instead
    #[arg(long, value_name = "ID")]
    pub folder: Option<u64>,
    /// Send along this route of the signing service instead
    #[arg(long, value_name = "ID")]
    pub route: Option<String>,
    /// Tell these users of the portal instead, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "USER")]
    pub notify: Option<Vec<u64>>,
    /// Go on without these parts of the delivery, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "WHAT", value_parser = announcement_names())]
    pub skip: Vec<String>,
}

/// Arguments of `documents send`.
#[derive(Debug, Clone, Args)]
#[command(group = ArgGroup::new("source").required(true).args(["file", "deal", "lead", "item"]))]
pub struct SendArgs {
    /// Id of the portal in the configuration
    #[arg(long, value_name = "ID")]
    pub portal: String,
    /// A file of the Drive
    #[arg(long, value_name = "ID")]
    pub file: Option<u64>,
    /// A deal; the rules say which file of it
    #[arg(long, value_name = "ID")]
    pub deal: Option<u64>,
    /// A lead
    #[arg(long, value_name = "ID")]
    pub lead: Option<u64>,
    /// Any CRM item, as TYPE:ID (31 is an invoice, 128 and above are smart processes)
    #[arg(long, value_name = "TYPE:ID", value_parser = crm_item)]
    pub item: Option<(u32, u64)>,
    /// One file of this file field of the item, as UF_CRM_1700000000
    #[arg(long, value_name = "FIELD", requires = "field_file", conflicts_with = "file")]
    pub field: Option<String>,
    /// Id of the file in the field, as crm.item.get shows it
    #[arg(long, value_name = "ID", requires = "field")]
    pub field_file: Option<u64>,
    /// Rule to apply; without it the first one that fits
    #[arg(long, value_name = "ID")]
    pub rule: Option<String>,
}

impl SendArgs {
    fn request(&self) -> Option<SendRequest> {
        let item = |entity_type_id, id| match (&self.field, self.field_file) {
            (Some(field), Some(file_id)) => {
                SourceRequest::CrmFile { entity_type_id, id, field: field.clone(), file_id }
            }
            (_, _) => SourceRequest::CrmItem { entity_type_id, id },
        };
        let source = self
            .file
            .map(SourceRequest::DriveFile)
            .or_else(|| self.deal.map(|id| item(2, id)))
            .or_else(|| self.lead.map(|id| item(1, id)))
            .or_else(|| self.item.map(|(entity_type_id, id)| item(entity_type_id, id)))?;
        Some(SendRequest { portal: self.portal.clone(), source, rule: self.rule.clone() })
    }
}

fn step_names() -> PossibleValuesParser {
    PossibleValuesParser::new(Step::ALL.map(Step::name))
}

/// What can be skipped.
pub(super) fn announcement_names() -> PossibleValuesParser {
    PossibleValuesParser::new(Announcement::ALL.map(Announcement::name))
}

fn crm_item(text: &str) -> Result<(u32, u64), String> {
    let parts = text.split_once(':').and_then(|(kind, id)| Some((kind.parse().ok()?, id.parse().ok()?)));
    parts.ok_or_else(|| "write it as TYPE:ID, for example 1046:12".to_owned())
}

/// Runs the verb.
pub async fn run(args: DocumentsArgs, context: &Context) -> ExitStatus {
    match execute(args.verb, context).await {
        Ok(status) => status,
        Err(error) => context.output.fail(&error),
    }
}

async fn execute(verb: DocumentsVerb, context: &Context) -> Result<ExitStatus, ClientError> {
    let Context { client, output } = context;
    let card = match verb {
        DocumentsVerb::List(args) => return list(args, context).await,
        DocumentsVerb::Send(args) => return send(&args, context).await,
        DocumentsVerb::SignLink { id, asked_by } => return sign_link(id, asked_by, context).await,
        DocumentsVerb::Show { id } => {
            let card = client.document(id).await?;
            output.show(&card, || whole(&card, output));
            return Ok(ExitStatus::Fine);
        }
        DocumentsVerb::Retry(args) => {
            let request = RetryRequest {
                folder_id: args.folder,
                route_id: args.route,
                notify: args.notify,
                skip: args.skip,
            };
            client.retry(args.id, &request).await?
        }
        DocumentsVerb::Cancel { id, reason } => client.cancel(id, &CancelRequest { reason }).await?,
        DocumentsVerb::SendAgain { id } => client.send_again(id).await?,
        DocumentsVerb::Bind { id, document_id } => client.bind(id, &BindRequest { document_id }).await?,
    };
    output.show(&card, || one_line(&card.line, output));
    Ok(ExitStatus::Fine)
}

async fn list(args: ListArgs, context: &Context) -> Result<ExitStatus, ClientError> {
    let step = (!args.step.is_empty()).then(|| args.step.join(","));
    let query = DocumentQuery { step, ..args.filter.query() };
    let found = context.client.documents(query, args.limit as usize).await?;
    show_list(&found, &context.output);
    Ok(ExitStatus::Fine)
}

async fn sign_link(
    id: SagaId,
    asked_by: Option<String>,
    context: &Context,
) -> Result<ExitStatus, ClientError> {
    let request = SignLinkRequest { asked_by: asked_by.unwrap_or_else(account_name) };
    let link = context.client.sign_link(id, &request).await?;
    let Context { output, .. } = context;
    output.show(&link, || link.url.clone());
    let ends = output.moment(&link.expires_at);
    output.remark(&Text::new(
        format!("Передайте ссылку только подписанту ({}). Она действует до {ends}.", harmless(&link.signer)),
        format!("Hand the link to the signer only ({}). It works until {ends}.", harmless(&link.signer)),
    ));
    Ok(ExitStatus::Fine)
}

/// Who runs the command, as the system says.
fn account_name() -> String {
    let environment = Environment::of_process();
    let named = ["SUDO_USER", "USER", "LOGNAME"].into_iter().find_map(|name| environment.get(name));
    named.filter(|name| !name.trim().is_empty()).unwrap_or("?").to_owned()
}

async fn send(args: &SendArgs, context: &Context) -> Result<ExitStatus, ClientError> {
    let Some(request) = args.request() else {
        let text =
            Text::new("Укажите --file, --deal, --lead или --item.", "Give --file, --deal, --lead or --item.");
        return Ok(context.output.misuse(&text));
    };
    let sent = context.client.send(&request).await?;
    context.output.show(&sent, || sent.id.clone());
    context.output.remark(&Text::new(
        format!("Принято. Следить: edobridge documents show {}", sent.id),
        format!("Accepted. To follow it: edobridge documents show {}", sent.id),
    ));
    Ok(ExitStatus::Fine)
}

/// Prints a list, and says if there is more.
pub(super) fn show_list(list: &DocumentList, output: &Output) {
    output.show(list, || documents_table(&list.items, output));
    if list.next.is_some() {
        output.remark(&Text::new(
            "Показаны не все: увеличьте --limit или сузьте выбор.",
            "These are not all: raise --limit or narrow the filter.",
        ));
    }
}

/// Documents as a table.
pub(super) fn documents_table(lines: &[DocumentLine], output: &Output) -> String {
    if lines.is_empty() {
        return output.word("Ничего не найдено.", "Nothing found.").to_owned();
    }
    let head = match output.language {
        crate::domain::Language::Ru => ["id", "документ", "этап", "с", "код", "почему"],
        crate::domain::Language::En => ["id", "document", "step", "since", "code", "why"],
    };
    let rows: Vec<Vec<String>> = lines.iter().map(|line| row(line, output)).collect();
    table(&head, &rows)
}

fn row(line: &DocumentLine, output: &Output) -> Vec<String> {
    vec![
        line.id.clone(),
        line.name.clone(),
        line.step.clone(),
        output.moment(&line.step_since),
        line.dead_letter_code.clone().unwrap_or_default(),
        output.words(&line.why).to_owned(),
    ]
}

fn one_line(line: &DocumentLine, output: &Output) -> String {
    harmless(&format!("{} «{}»: {}", line.id, line.name, output.words(&line.why)))
}

/// Everything about one document.
pub(super) fn whole(card: &DocumentCard, output: &Output) -> String {
    let line = &card.line;
    let optional = |text: &Option<String>| text.clone().unwrap_or_default();
    let at = |text: &Option<String>| text.as_ref().map(|text| output.moment(text)).unwrap_or_default();
    let number = |value: Option<u64>| value.map(|value| value.to_string()).unwrap_or_default();
    let top = sheet(&[
        (output.word("документ", "document"), line.name.clone()),
        ("id", line.id.clone()),
        (output.word("этап", "step"), format!("{} ({})", line.step, output.words(&line.step_text))),
        (output.word("почему", "why"), output.words(&line.why).to_owned()),
        (output.word("с", "since"), output.moment(&line.step_since)),
        (output.word("принят", "accepted"), output.moment(&line.created_at)),
        (output.word("портал", "portal"), line.portal.clone()),
        (output.word("правило", "rule"), line.rule.clone()),
        (output.word("источник", "source"), card.source.clone()),
        (output.word("карточка CRM", "CRM item"), optional(&card.crm_item)),
        (output.word("маршрут", "route"), card.route_id.clone()),
        (output.word("файл", "file"), file_words(card.file.as_ref())),
        (output.word("наш номер", "our id"), card.external_id.clone()),
        (output.word("номер EasyDocs", "EasyDocs id"), optional(&card.provider_document)),
        (output.word("статус EasyDocs", "EasyDocs status"), optional(&card.provider_status)),
        (output.word("подписанный", "signed file"), file_words(card.signed.as_ref())),
        (output.word("доставлен", "delivered"), delivered_words(card)),
        (output.word("папка", "folder"), number(card.folder_id)),
        (
            output.word("таймер", "timer"),
            card.timer.as_ref().map(|t| output.moment(&t.due)).unwrap_or_default(),
        ),
        (output.word("запрос идёт с", "running since"), at(&card.in_flight_since)),
        (output.word("неудач подряд", "failures"), card.tries.to_string()),
        (output.word("последний ответ", "last answer"), last_answer(card)),
    ]);
    let head = match output.language {
        crate::domain::Language::Ru => ["когда", "этап", "что", "подробности"],
        crate::domain::Language::En => ["when", "step", "what", "details"],
    };
    let rows: Vec<Vec<String>> = card
        .history
        .iter()
        .map(|entry| {
            let text = output.words(&entry.text).to_owned();
            vec![output.moment(&entry.at), entry.step.clone(), entry.what.clone(), text]
        })
        .collect();
    format!("{top}\n{}", table(&head, &rows))
}

fn file_words(file: Option<&FileView>) -> String {
    file.map(|file| {
        format!("{} {} B sha256 {}", file.name.as_deref().unwrap_or_default(), file.size_bytes, file.sha256)
            .trim()
            .to_owned()
    })
    .unwrap_or_default()
}

fn delivered_words(card: &DocumentCard) -> String {
    let delivered = card.delivered.as_ref();
    delivered.map(|file| format!("{} ({}/{})", file.name, file.folder_id, file.file_id)).unwrap_or_default()
}

fn last_answer(card: &DocumentCard) -> String {
    card.dead_letter.as_ref().and_then(|dead| dead.answer.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::format::Format;
    use super::*;
    use crate::domain::{Language, Timestamp};
    use crate::http::test_support::stopped_saga;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: DocumentsArgs,
    }

    fn parse(line: &str) -> Result<DocumentsVerb, String> {
        Cli::try_parse_from(line.split_whitespace())
            .map(|cli| cli.args.verb)
            .map_err(|error| error.to_string())
    }

    fn output(language: Language) -> Output {
        Output { format: Format::People, language, zone: jiff::tz::TimeZone::UTC }
    }

    #[test]
    fn the_command_tree_is_sound() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn a_send_names_exactly_one_source() {
        let Ok(DocumentsVerb::Send(args)) = parse("documents send --portal main --item 1046:12") else {
            panic!()
        };
        let source = SourceRequest::CrmItem { entity_type_id: 1046, id: 12 };
        assert_eq!(args.request().unwrap().source, source);
        let file = "documents send --portal main --deal 501 --field UF_CRM_1 --field-file 9";
        let Ok(DocumentsVerb::Send(args)) = parse(file) else { panic!() };
        let source =
            SourceRequest::CrmFile { entity_type_id: 2, id: 501, field: "UF_CRM_1".into(), file_id: 9 };
        assert_eq!(args.request().unwrap().source, source);
        assert!(parse("documents send --portal main --deal 501 --field UF_CRM_1").is_err());
        assert!(parse("documents send --portal main --file 1 --field UF_CRM_1 --field-file 9").is_err());
        assert!(parse("documents send --portal main").is_err());
        assert!(parse("documents send --portal main --file 1 --deal 2").is_err());
        assert!(parse("documents send --portal main --item 12").unwrap_err().contains("1046:12"));
    }

    #[test]
    fn a_mistyped_step_or_id_is_named_with_what_there_is() {
        assert!(parse("documents list --step parkd").unwrap_err().contains("parked"));
        assert!(parse("documents show 42").unwrap_err().contains("32 hex digits"));
        let Ok(DocumentsVerb::List(args)) = parse("documents list --step parked,create --name a") else {
            panic!()
        };
        assert_eq!(
            (args.step.join(","), args.filter.query().name),
            ("parked,create".into(), Some("a".into()))
        );
    }

    #[test]
    fn a_document_is_shown_with_its_reason_in_the_readers_language() {
        let saga = stopped_saga("Договор.pdf", "HTTP 422");
        let card = DocumentCard::new(&saga, &[], Timestamp(90_000));
        let russian = whole(&card, &output(Language::Ru));
        assert!(russian.contains("Остановлен: HTTP 422") && russian.contains("Договор.pdf"), "{russian}");
        let list = documents_table(&[card.line], &output(Language::En));
        assert!(list.contains("http_422") && list.contains("1970-01-01 00:01:00"), "{list}");
        assert_eq!(documents_table(&[], &output(Language::En)), "Nothing found.");
    }
}
