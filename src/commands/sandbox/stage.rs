//! What is in the emulated portal from the beginning: folders, and a deal with a file.

use crate::domain::CrmItem;
use crate::sandbox::{World, WorldError};
use serde::Serialize;
use serde_json::json;

/// The deal that is there from the beginning.
pub(super) const DEAL: CrmItem = CrmItem { entity_type_id: 2, id: 501 };
/// The stage that starts the signing of its file.
pub(super) const STAGE: &str = "C1:EXECUTING";
/// The field with its file, as the portal's REST writes it, and by its original name.
pub(super) const FILE_FIELD: (&str, &str) = ("ufCrmContract", "UF_CRM_CONTRACT");
/// Whoever is responsible for it: the owner of the webhook.
pub(super) const RESPONSIBLE: u64 = 1;
/// The shortest file that a PDF reader opens without complaint about its head.
const SAMPLE_PDF: &[u8] = b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n";

/// What is in the portal from the beginning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Stage {
    /// The folder that the sample configuration watches.
    pub(super) inbox_folder: u64,
    /// The folder that it watches for iDocs.
    pub(super) idocs_folder: u64,
    /// The folder where it puts signed files of deals.
    pub(super) signed_folder: u64,
    /// The deal.
    pub(super) deal: u64,
}

impl Stage {
    /// Puts it there.
    pub(super) fn set(world: &World) -> Result<Self, WorldError> {
        let root = world.root_folder();
        let inbox_folder = world.add_folder(root, "На подпись")?;
        let idocs_folder = world.add_folder(root, "На подпись в iDocs")?;
        let signed_folder = world.add_folder(root, "Подписанные")?;
        let fields = [
            ("title", json!("Поставка оборудования")),
            ("categoryId", json!(1)),
            ("stageId", json!("C1:NEW")),
            ("assignedById", json!(RESPONSIBLE)),
        ];
        world.put_item(DEAL, &fields);
        world.put_item_file(DEAL, FILE_FIELD.0, "Договор 501.pdf", SAMPLE_PDF)?;
        Ok(Self { inbox_folder, idocs_folder, signed_folder, deal: DEAL.id })
    }
}
