//! A world with iDocs in it: our director, a folder for contracts with Kazakhstan, and the configuration of both.

use super::{DEAL, Stage};

/// The director's IIN and our company's BIN, as their certificate has them.
pub const DIRECTOR_IIN: &str = "000000000000";
pub const OUR_BIN: &str = "123456789012";
/// The last part of our address for notices.
pub const PATH_SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Who and what was added.
#[derive(Debug, Clone, Copy)]
pub struct Kazakhstan {
    /// The director, a user of the portal.
    pub director: u64,
    /// The folder.
    pub folder: u64,
}

/// What differs from test to test.
pub struct Manners<'m> {
    /// Pause before a look.
    pub settle: &'m str,
    /// Longest silence, and longest call.
    pub patience: (&'m str, &'m str),
    /// The trigger of the rule, with FOLDER for the folder.
    pub trigger: &'m str,
    /// Further keys of the section.
    pub more: &'m str,
}

impl Kazakhstan {
    /// Adds them to the world; the deal gets the counterparty's BIN.
    pub fn settle_in(stage: &Stage) -> Self {
        let world = &stage.world;
        let director = world.add_user("Айгуль", "Директорова");
        let folder = world.add_folder(world.root_folder(), "KZ").expect("a new folder");
        world.put_item(
            DEAL,
            &[
                ("stageId", "C1:NEW".into()),
                ("assignedById", stage.user.into()),
                ("title", "Сделка".into()),
                ("ufCrmBin", "987 654 321 098".into()),
            ],
        );
        Self { director, folder }
    }

    /// The account, the signer and the rule, as sections of the configuration.
    pub fn config(self, stage: &Stage, manners: &Manners<'_>) -> String {
        let (base, webhooks) = (stage.world.idocs_url(), stage.world.idocs_webhooks_url());
        let Manners { settle, patience: (read, call), trigger, more } = manners;
        let (director, deal) = (self.director, DEAL.id);
        let trigger = trigger.replace("FOLDER", &self.folder.to_string());
        format!(
            r#"
[idocs]
base_url = "{base}"
webhooks_base_url = "{webhooks}"
token = "sandbox-idocs-token"
poll = ["200ms", "300ms"]
settle = "{settle}"
dangerous_allow_http = true
{more}
[idocs.timeouts]
connect = "2s"
read = "{read}"
call = "{call}"
transfer = "20s"
[idocs.webhook]
path_secret = "{PATH_SECRET}"
[idocs.limits]
callback_per_minute = 100000
[[idocs.signers]]
name = "Директор"
employee_id = "11111111-2222-4333-8444-555555555555"
iin = "{DIRECTOR_IIN}"
bitrix_user = {director}
[signing_page]
submissions_per_minute = 10000
[[rules]]
id = "kz"
portal = "main"
service = "idocs"
signer = "Директор"
document_group = "Legal"
counterparty_bin_field = "UF_CRM_BIN"
counterparty_email = "office@example.kz"
trigger = {trigger}
notify = [{director}]
crm_item = {{ entity = "deal", id = {deal} }}
"#
        )
    }
}
