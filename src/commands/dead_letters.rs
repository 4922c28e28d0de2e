//! `edobridge dead-letters …`: what waits for a person: stopped documents, and notices that found no document.

use super::ExitStatus;
use super::client::{ClientError, Context};
use super::documents::{FilterArgs, announcement_names, documents_table, whole};
use super::output::Output;
use super::table::table;
use crate::domain::{Language, SagaId, Text};
use crate::http::admin_request::{CancelRequest, DocumentQuery, NoticeQuery, RetryManyRequest, RetryRequest};
use crate::http::document_view::DocumentCard;
use crate::http::operator_view::{DocumentList, ParkedNoticeList, ParkedNoticeView, RetriedMany};
use crate::saga::document::Step;
use clap::{Args, Subcommand};
use serde::Serialize;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Parked notices that one list shows.
const NOTICES_SHOWN_MAX: usize = 500;

/// What waits for a person.
#[derive(Debug, Clone, Args)]
pub struct DeadLettersArgs {
    /// What to do.
    #[command(subcommand)]
    pub verb: DeadLettersVerb,
}

/// What to do with dead letters.
#[derive(Debug, Clone, Subcommand)]
pub enum DeadLettersVerb {
    /// Lists stopped documents with the reason, and notices that belong to no document
    List(ListArgs),
    /// Shows one stopped document: reason, next action, last answer, history
    Show {
        /// Id of the document
        id: SagaId,
    },
    /// Lets stopped documents go on: one by id, or all that a filter matches
    #[command(after_help = "Examples:
  edobridge dead-letters retry 0198f00d-dead-beef-0123-456789abcdef
  edobridge dead-letters retry --code http_401 --dry-run     (which would it be?)
  edobridge dead-letters retry --code http_401
  edobridge dead-letters retry --all --limit 50
  edobridge dead-letters retry --code owner_not_found --skip comment     (the deals are gone; the signed files are not)")]
    Retry(RetryManyArgs),
    /// Gives a stopped document or a parked notice up for good, and keeps a dump of it in a file
    #[command(after_help = "Examples:
  edobridge dead-letters discard 0198f00d-dead-beef-0123-456789abcdef --yes --reason 'signed on paper'
  edobridge dead-letters discard 17 --yes                     (notice 17)")]
    Discard(DiscardArgs),
}

/// Arguments of `dead-letters list`.
#[derive(Debug, Clone, Args)]
pub struct ListArgs {
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would show it as help of the group")]
    pub filter: FilterArgs,
    /// How many documents at most
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub limit: u32,
}

/// Arguments of `dead-letters retry`.
#[derive(Debug, Clone, Args)]
pub struct RetryManyArgs {
    /// Id of one document
    #[arg(conflicts_with_all = ["portal", "rule", "name", "code", "since", "until", "all", "dry_run", "limit"])]
    pub id: Option<SagaId>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would show it as help of the group")]
    pub filter: FilterArgs,
    /// All stopped documents
    #[arg(long)]
    pub all: bool,
    /// Only say which would be retried
    #[arg(long)]
    pub dry_run: bool,
    /// Go on without the comment or the notices, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "WHAT", value_parser = announcement_names())]
    pub skip: Vec<String>,
    /// How many at most in one go
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub limit: u32,
}

/// Arguments of `dead-letters discard`.
#[derive(Debug, Clone, Args)]
pub struct DiscardArgs {
    /// Id of the document, or number of the notice
    pub what: Letter,
    /// Yes, give it up
    #[arg(long)]
    pub yes: bool,
    /// Why, for the history
    #[arg(long, default_value = "discarded by the operator")]
    pub reason: String,
    /// File for the dump; without it, edobridge-discarded-ID.json in the current directory
    #[arg(long, value_name = "FILE")]
    pub dump: Option<PathBuf>,
}

/// One dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Letter {
    /// A stopped document.
    Document(SagaId),
    /// A parked notice.
    Notice(u64),
}

impl FromStr for Letter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // an id has 32 digits, so that a number of at most 20 cannot be meant for one
        if text.len() <= 20 && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().map(Self::Notice).map_err(|_| format!("`{text}` is no notice's number"));
        }
        text.parse().map(Self::Document).map_err(|_| {
            "give the id of a document (32 hex digits) or the number of a notice, from `dead-letters list`".to_owned()
        })
    }
}

/// What waits for a person, for `--json`.
#[derive(Debug, Serialize)]
struct Everything<'l> {
    documents: &'l DocumentList,
    notices: &'l ParkedNoticeList,
}

/// Runs the verb.
pub async fn run(args: DeadLettersArgs, context: &Context) -> ExitStatus {
    let done = match args.verb {
        DeadLettersVerb::List(args) => list(args, context).await,
        DeadLettersVerb::Show { id } => show(id, context).await,
        DeadLettersVerb::Retry(args) => retry(args, context).await,
        DeadLettersVerb::Discard(args) => discard(args, context).await,
    };
    done.unwrap_or_else(|error| context.output.fail(&error))
}

async fn list(args: ListArgs, context: &Context) -> Result<ExitStatus, ClientError> {
    let Context { client, output } = context;
    let query = DocumentQuery { step: Some(Step::Parked.name().to_owned()), ..args.filter.query() };
    let documents = client.documents(query, args.limit as usize).await?;
    let notices = client.parked_notices(&NoticeQuery { after: None, limit: Some(NOTICES_SHOWN_MAX) }).await?;
    output.show(&Everything { documents: &documents, notices: &notices }, || {
        everything(&documents, &notices, output)
    });
    if documents.next.is_some() || notices.next.is_some() {
        output.remark(&Text::new(
            "Показаны не все: увеличьте --limit или сузьте выбор.",
            "These are not all: raise --limit or narrow the filter.",
        ));
    }
    Ok(ExitStatus::Fine)
}

fn everything(documents: &DocumentList, notices: &ParkedNoticeList, output: &Output) -> String {
    if documents.items.is_empty() && notices.items.is_empty() {
        return output.word("Ничего не ждёт человека.", "Nothing waits for a person.").to_owned();
    }
    let mut text = String::new();
    if !documents.items.is_empty() {
        text.push_str(output.word("Остановленные документы\n", "Stopped documents\n"));
        text.push_str(&documents_table(&documents.items, output));
        text.push('\n');
    }
    if !notices.items.is_empty() {
        text.push_str(output.word("Уведомления без документа\n", "Notices without a document\n"));
        text.push_str(&notices_table(&notices.items, output));
    }
    text
}

fn notices_table(notices: &[ParkedNoticeView], output: &Output) -> String {
    let head = match output.language {
        Language::Ru => ["№", "вид", "получено", "ждёт номера", "почему"],
        Language::En => ["no", "kind", "received", "waits for id", "why"],
    };
    let row = |notice: &ParkedNoticeView| {
        vec![
            notice.id.to_string(),
            notice.kind.clone(),
            output.moment(&notice.received_at),
            notice.lookup.clone().unwrap_or_default(),
            output.words(&notice.reason).to_owned(),
        ]
    };
    table(&head, &notices.iter().map(row).collect::<Vec<_>>())
}

async fn show(id: SagaId, context: &Context) -> Result<ExitStatus, ClientError> {
    let card = context.client.document(id).await?;
    context.output.show(&card, || whole(&card, &context.output));
    if card.dead_letter.is_none() {
        context.output.remark(&Text::new("Этот документ не остановлен.", "This document is not stopped."));
    }
    Ok(ExitStatus::Fine)
}

async fn retry(args: RetryManyArgs, context: &Context) -> Result<ExitStatus, ClientError> {
    let Context { client, output } = context;
    if let Some(id) = args.id {
        let card = client.retry(id, &RetryRequest { skip: args.skip, ..RetryRequest::default() }).await?;
        output.show(&card, || documents_table(std::slice::from_ref(&card.line), output));
        return Ok(ExitStatus::Fine);
    }
    let filter = args.filter.query();
    if filter.is_empty() && !args.all {
        return Ok(output.misuse(&Text::new(
            "Укажите документ, условие (--code, --portal, --rule, --name, --since, --until) или --all.",
            "Give a document, a filter (--code, --portal, --rule, --name, --since, --until) or --all.",
        )));
    }
    let filter = DocumentQuery { limit: Some(args.limit as usize), ..filter };
    let retried =
        client.retry_many(&RetryManyRequest { filter, dry_run: args.dry_run, skip: args.skip }).await?;
    output.show(&retried, || retried_words(&retried, output));
    if retried.more {
        output.remark(&Text::new(
            "Подходят и другие: повторите команду или увеличьте --limit.",
            "More match: repeat the command, or raise --limit.",
        ));
    }
    Ok(if retried.failed.is_empty() { ExitStatus::Fine } else { ExitStatus::ProblemFound })
}

fn retried_words(retried: &RetriedMany, output: &Output) -> String {
    let mut text = documents_table(&retried.matched, output);
    let (matched, done) = (retried.matched.len(), retried.retried);
    let summary = if retried.dry_run {
        Text::new(
            format!("\nПодходит: {matched}. Ничего не сделано (--dry-run)."),
            format!("\n{matched} match. Nothing was done (--dry-run)."),
        )
    } else {
        Text::new(format!("\nПродолжено: {done} из {matched}."), format!("\n{done} of {matched} go on."))
    };
    text.push_str(output.words(&summary));
    for failure in &retried.failed {
        text.push_str(&format!(
            "\n{}: {}",
            failure.id,
            super::table::harmless(output.words(&failure.message))
        ));
    }
    text
}

/// What a dump holds, and what was given up.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Dump {
    Document(Box<DocumentCard>),
    Notice(ParkedNoticeView),
}

async fn discard(args: DiscardArgs, context: &Context) -> Result<ExitStatus, ClientError> {
    let Context { client, output } = context;
    if !args.yes {
        return Ok(output.misuse(&Text::new(
            "Это навсегда: добавьте --yes. Что известно о документе, будет записано в файл.",
            "This is for good: add --yes. What is known of it will be written to a file.",
        )));
    }
    let path = args.dump.clone().unwrap_or_else(|| dump_name(args.what));
    let dump = match args.what {
        Letter::Document(id) => Some(Dump::Document(Box::new(client.document(id).await?))),
        Letter::Notice(id) => notice(id, context).await?.map(Dump::Notice),
    };
    let Some(dump) = dump else {
        return Ok(output.misuse(&Text::new("Такого уведомления нет.", "There is no such notice.")));
    };
    // the file first: what was given up without a dump could not be brought back
    if let Err(error) = write_dump(&path, &dump) {
        let shown = path.display();
        return Ok(output.misuse(&Text::new(
            format!("Дамп {shown} не записан: {error}. Ничего не сделано; укажите другой файл в --dump."),
            format!(
                "The dump {shown} was not written: {error}. Nothing was done; name another file with --dump."
            ),
        )));
    }
    match args.what {
        Letter::Document(id) => {
            client.discard(id, &CancelRequest { reason: args.reason }).await?;
        }
        Letter::Notice(id) => {
            client.discard_notice(id).await?;
        }
    }
    output.show(&serde_json::json!({ "dump": path }), || path.display().to_string());
    output.remark(&Text::new("Снято с учёта; дамп записан.", "Given up; the dump was written."));
    Ok(ExitStatus::Fine)
}

async fn notice(id: u64, context: &Context) -> Result<Option<ParkedNoticeView>, ClientError> {
    let query = NoticeQuery { after: id.checked_sub(1), limit: Some(1) };
    let found = context.client.parked_notices(&query).await?;
    Ok(found.items.into_iter().find(|notice| notice.id == id))
}

fn dump_name(what: Letter) -> PathBuf {
    PathBuf::from(match what {
        Letter::Document(id) => format!("edobridge-discarded-{id}.json"),
        Letter::Notice(id) => format!("edobridge-discarded-notice-{id}.json"),
    })
}

/// Names of people and files are in it: for its owner only. A file that is there already is not overwritten.
fn write_dump(path: &Path, dump: &Dump) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    serde_json::to_writer_pretty(&mut file, dump)?;
    file.write_all(b"\n")?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::super::format::Format;
    use super::*;
    use crate::domain::Timestamp;
    use crate::http::document_view::DocumentLine;
    use crate::http::test_support::stopped_saga;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: DeadLettersArgs,
    }

    fn parse(line: &str) -> Result<DeadLettersVerb, String> {
        Cli::try_parse_from(line.split_whitespace())
            .map(|cli| cli.args.verb)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_letter_is_a_document_or_a_notice_and_never_doubtful() {
        assert_eq!("17".parse(), Ok(Letter::Notice(17)));
        let id = "0198f00d-dead-beef-0123-456789abcdef";
        assert_eq!(id.parse(), Ok(Letter::Document(id.parse().unwrap())));
        assert_eq!("1".repeat(32).parse(), Ok(Letter::Document("1".repeat(32).parse().unwrap())));
        assert!("x".parse::<Letter>().is_err() && "".parse::<Letter>().is_err());
        assert!("99999999999999999999".parse::<Letter>().is_err());
    }

    #[test]
    fn one_document_and_a_filter_exclude_each_other() {
        <Cli as clap::CommandFactory>::command().debug_assert();
        let id = "0198f00d-dead-beef-0123-456789abcdef";
        assert!(parse(&format!("dead-letters retry {id}")).is_ok());
        assert!(parse(&format!("dead-letters retry {id} --code x")).is_err());
        assert!(parse(&format!("dead-letters retry {id} --dry-run")).is_err());
        let Ok(DeadLettersVerb::Retry(args)) = parse("dead-letters retry --code x --dry-run") else {
            panic!()
        };
        assert!(args.dry_run && !args.filter.query().is_empty());
    }

    #[test]
    fn a_dump_is_private_and_overwrites_nothing() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dump.json");
        let saga = stopped_saga("a.pdf", "x");
        let dump = Dump::Document(Box::new(DocumentCard::new(&saga, &[], Timestamp(0))));
        write_dump(&path, &dump).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(std::fs::read_to_string(&path).unwrap().contains("\"document\""));
        assert_eq!(write_dump(&path, &dump).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn a_dry_run_says_that_nothing_was_done() {
        let output = Output { format: Format::People, language: Language::En, zone: jiff::tz::TimeZone::UTC };
        let line = DocumentLine::new(&stopped_saga("a.pdf", "x"), Timestamp(0));
        let retried = RetriedMany { dry_run: true, matched: vec![line], ..RetriedMany::default() };
        assert!(retried_words(&retried, &output).ends_with("1 match. Nothing was done (--dry-run)."));
    }
}
