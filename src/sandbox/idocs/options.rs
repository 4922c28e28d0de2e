//! How the emulated iDocs behaves where its guide is silent: every doubt of `signing-providers.md` (c) and (g) is a
//! switch here, and where the truth is unknown the default is the harsher reading.

use super::wire::AnswerStyle;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Names of the rights that the emulated employees have. The real names are published nowhere.
pub const RIGHT_TO_CREATE: &str = "CREATE_EXTERNAL_DOCUMENT";
/// See [`RIGHT_TO_CREATE`].
pub const RIGHT_TO_SIGN: &str = "SIGN_EXTERNAL_DOCUMENT";

/// How the emulated iDocs behaves. [`IDocsOptions::default`] is the account of the samples.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IDocsOptions {
    /// Whose account it is.
    pub company: Company,
    /// The company's people; the first is the author where a create names none.
    pub employees: Vec<Employee>,
    /// Largest upload in bytes; the guide says 15 MB and not which.
    pub upload_bytes_max: usize,
    /// Extensions of documents that are taken, with their dot.
    pub extensions: Vec<String>,
    /// Which members a route must and must not have.
    pub route_shape: RouteShape,
    /// What a second route of one document does.
    pub repeated_route: RepeatedRoute,
    /// Whether a second document may have a number that is there already.
    pub same_number: SameNumber,
    /// How long content to sign lives: link and ticket, in milliseconds. Whole seconds are told.
    pub unit_life_ms: u64,
    /// Whether older content of a document stays good when new content is generated.
    pub older_units: OlderUnits,
    /// Which forms of the download link work.
    pub link_form: LinkForm,
    /// `http://host:port` in download links instead of the service's own: a link that must not be followed.
    pub link_origin: Option<String>,
    /// What a save does that repeats one with the same ticket and the same signature.
    pub repeated_save: RepeatedSave,
    /// What is asked of a signature.
    pub signature: SignatureCheck,
    /// How statuses are written.
    pub statuses: StatusForm,
    /// How answers are dressed.
    pub answers: AnswerStyle,
    /// HTTP status of refusals of the single calls; with 200 only `errors` tells. 401 and 415 stay what they are.
    pub refusal_status: u16,
    /// Largest page of a list.
    pub page_max: usize,
    /// Whether the print form can be fetched; an integrator missed it for some documents.
    pub print_form: Presence,
    /// Whether the archive can be fetched.
    pub archive: Presence,
    /// How long a pushed operation takes, in milliseconds; iDocs says seconds to hours.
    pub bulk_delay_ms: u64,
    /// Whether finished operations name the document that they are about.
    pub bulk_names: BulkNames,
    /// How long after a save the counterparty receives the document, in milliseconds.
    pub receipt_delay_ms: u64,
}

impl Default for IDocsOptions {
    fn default() -> Self {
        Self {
            company: Company::default(),
            employees: Employee::samples(),
            upload_bytes_max: 15_000_000,
            extensions: [".doc", ".docx", ".xls", ".xlsx", ".pdf", ".txt"].map(str::to_owned).into(),
            route_shape: RouteShape::Any,
            repeated_route: RepeatedRoute::Append,
            same_number: SameNumber::Accept,
            unit_life_ms: 3_600_000,
            older_units: OlderUnits::Die,
            link_form: LinkForm::Both,
            link_origin: None,
            repeated_save: RepeatedSave::Accept,
            signature: SignatureCheck::Content,
            statuses: StatusForm::Name,
            answers: AnswerStyle::Observed,
            refusal_status: 400,
            page_max: 100,
            print_form: Presence::There,
            archive: Presence::There,
            bulk_delay_ms: 50,
            bulk_names: BulkNames::True,
            receipt_delay_ms: 20,
        }
    }
}

impl IDocsOptions {
    pub(super) fn unit_life(&self) -> Duration {
        Duration::from_millis(self.unit_life_ms)
    }
    pub(super) fn employee(&self, id: &str) -> Option<&Employee> {
        self.employees.iter().find(|employee| employee.id == id)
    }
}

/// The company of the token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Company {
    /// Its id, a UUID.
    pub id: String,
    /// Its BIN.
    pub bin: String,
    /// Its name.
    pub name: String,
}

impl Default for Company {
    fn default() -> Self {
        Self {
            id: "44444444-5555-4666-8777-888888888888".into(),
            bin: "210987654321".into(),
            name: "Synthetic LLP".into(),
        }
    }
}

/// One of the company's people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Employee {
    /// The id, a UUID.
    pub id: String,
    /// The IIN.
    pub iin: String,
    /// First name.
    pub first_name: String,
    /// Last name.
    pub last_name: String,
    /// Position.
    pub position: String,
    /// Address for letters.
    pub email: String,
    /// Names of the rights; see [`RIGHT_TO_CREATE`] and [`RIGHT_TO_SIGN`].
    pub rights: Vec<String>,
}

impl Employee {
    /// The director of the samples, who may sign.
    pub fn director() -> Self {
        Self {
            id: "11111111-2222-4333-8444-555555555555".into(),
            iin: "000000000000".into(),
            first_name: "Тест".into(),
            last_name: "Тестов".into(),
            position: "Директор".into(),
            email: "director@example.com".into(),
            rights: [RIGHT_TO_CREATE, RIGHT_TO_SIGN].map(str::to_owned).into(),
        }
    }
    /// The director, and an accountant, who may not sign.
    pub fn samples() -> Vec<Self> {
        let accountant = Self {
            id: "11111111-2222-4333-8444-666666666666".into(),
            iin: "000000000001".into(),
            first_name: "Проба".into(),
            last_name: "Пробова".into(),
            position: "Бухгалтер".into(),
            email: "accountant@example.com".into(),
            rights: vec![RIGHT_TO_CREATE.to_owned()],
        };
        vec![Self::director(), accountant]
    }
    pub(super) fn may(&self, right: &str) -> bool {
        self.rights.iter().any(|name| name == right)
    }
}

/// Which members a route must and must not have: guide and snapshot differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteShape {
    /// Any known member, none demanded beyond the common ones.
    Any,
    /// `requiredActionType` in every node, no member that only the snapshot has.
    Guide,
    /// `isSignRequiredByCounterparty` in every node, no `requiredActionType`.
    Snapshot,
    /// As the snapshot, and `isSenderPayer` somewhere, or else a billing error.
    SnapshotWithPayer,
}

/// What a second route of one document does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RepeatedRoute {
    /// Its nodes are added: the counterparty is asked twice.
    Append,
    /// It takes the place of the first.
    Replace,
    /// It is refused.
    Refuse,
}

/// Whether a second document may have a number that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SameNumber {
    /// It may: that is how a test sees a double.
    Accept,
    /// It is refused.
    Refuse,
}

/// Whether older content of a document stays good when new content is generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OlderUnits {
    /// Link and ticket are dead.
    Die,
    /// Both live until their own end.
    Live,
}

/// Which forms of the download link work; the link that is given has a double slash before the id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkForm {
    /// As given and collapsed.
    Both,
    /// With the double slash only.
    AsGiven,
    /// With one slash only.
    Collapsed,
}

/// What a save does that repeats one with the same ticket and the same signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RepeatedSave {
    /// It succeeds without a second effect.
    Accept,
    /// It is refused.
    Refuse,
}

/// What is asked of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignatureCheck {
    /// Nothing: any bytes.
    Anything,
    /// A CMS over the content of the ticket, attached or detached.
    Content,
    /// The same, and the content must be inside.
    Attached,
    /// The same, and the content must not be inside.
    Detached,
}

/// How statuses are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StatusForm {
    /// By name everywhere.
    Name,
    /// By number in every object.
    Number,
    /// The status call answers a bare number; elsewhere names.
    BareNumber,
}

/// Whether finished operations name the document that they are about. The snapshot says that they do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BulkNames {
    /// They do.
    True,
    /// They name each other's: content of one document goes out under the name of another. A test's control.
    Swapped,
    /// They name none.
    Missing,
}

/// Whether something can be fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// It can.
    There,
    /// 404.
    Missing,
}
