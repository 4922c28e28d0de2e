//! Why a signature is not taken, in words for the signer.

use crate::domain::SignerText;
use std::io;

/// One of the two numbers in a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Number {
    /// Of a person.
    Iin,
    /// Of an organisation.
    Bin,
}

impl Number {
    const fn latin(self) -> &'static str {
        match self {
            Self::Iin => "IIN",
            Self::Bin => "BIN",
        }
    }
    const fn russian(self) -> &'static str {
        match self {
            Self::Iin => "ИИН",
            Self::Bin => "БИН",
        }
    }
    const fn kazakh(self) -> &'static str {
        match self {
            Self::Iin => "ЖСН",
            Self::Bin => "БСН",
        }
    }
}

/// Why a signature is not taken.
#[derive(Debug, thiserror::Error)]
pub enum CmsError {
    /// Nothing was sent.
    #[error("there is no signature")]
    Empty,
    /// Longer than a signature of this content can be.
    #[error("the signature is larger than {bytes_max} bytes")]
    TooLarge {
        /// The limit.
        bytes_max: u64,
    },
    /// Neither PEM with CMS armour, nor Base64, nor binary.
    #[error("the signature is neither PEM nor Base64 nor binary")]
    Coding,
    /// Not ASN.1, or not in the form of a CMS.
    #[error("the signature is no CMS: {0}")]
    Structure(String),
    /// A CMS of another kind.
    #[error("the CMS is no SignedData")]
    NotSignedData,
    /// None or several have signed.
    #[error("the CMS has {0} signers instead of one")]
    Signers(usize),
    /// The signer's certificate is not inside.
    #[error("the signer's certificate is not in the CMS")]
    NoCertificate,
    /// A signed attribute is missing, doubled or contradicts the rest.
    #[error("the signed attribute {0} is missing or does not fit")]
    Attribute(&'static str),
    /// The content should be inside and is not.
    #[error("the content is not inside the CMS")]
    ContentMissing,
    /// The content should not be inside and is.
    #[error("the content is inside the CMS and should not be")]
    ContentInside,
    /// Something else was signed.
    #[error("the CMS signs other bytes")]
    ForeignContent,
    /// An algorithm that is neither one that we have nor one of the national standards.
    #[error("the algorithm {0} is not known here")]
    Algorithm(String),
    /// The value was not made with the certificate's key.
    #[error("the signature value does not fit the certificate")]
    SignatureValue,
    /// The certificate has no such number.
    #[error("the certificate has no {}", .0.latin())]
    NoNumber(Number),
    /// The certificate is another one's.
    #[error("the certificate's {} is not the expected one", .which.latin())]
    WrongSigner {
        /// Which number differs.
        which: Number,
        /// The last digits of the expected one.
        expected_end: String,
        /// The last digits of the certificate's.
        found_end: String,
    },
    /// Our own copy of the content cannot be read.
    #[error("the content cannot be read")]
    Content(#[source] io::Error),
}

impl CmsError {
    /// The stable name, for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::TooLarge { .. } => "too_large",
            Self::Coding => "unreadable",
            Self::Structure(_) => "not_cms",
            Self::NotSignedData => "not_signed_data",
            Self::Signers(_) => "signer_count",
            Self::NoCertificate => "no_certificate",
            Self::Attribute(_) => "attributes",
            Self::ContentMissing => "content_missing",
            Self::ContentInside => "content_inside",
            Self::ForeignContent => "foreign_content",
            Self::Algorithm(_) => "algorithm",
            Self::SignatureValue => "signature_value",
            Self::NoNumber(_) => "no_number",
            Self::WrongSigner { .. } => "wrong_signer",
            Self::Content(_) => "content_unavailable",
        }
    }

    /// The sentence for the signer, with the remedy.
    pub fn words(&self) -> SignerText {
        match self {
            Self::Empty => SignerText::fixed(
                "Подпись пуста: подпишите документ ещё раз.",
                "Қолтаңба бос: құжатқа қайта қол қойыңыз.",
                "The signature is empty: sign the document again.",
            ),
            Self::TooLarge { .. } => SignerText::fixed(
                "Подпись слишком велика для этого документа: подпишите ещё раз или обратитесь к отправителю.",
                "Қолтаңба бұл құжат үшін тым үлкен: қайта қол қойыңыз немесе жіберушіге хабарласыңыз.",
                "The signature is too large for this document: sign again or ask the sender.",
            ),
            Self::Coding | Self::Structure(_) | Self::NotSignedData => SignerText::fixed(
                "Программа подписи вернула не подпись CMS: обновите её и подпишите ещё раз.",
                "Қол қою бағдарламасы CMS қолтаңбасын қайтармады: оны жаңартып, қайта қол қойыңыз.",
                "The signing program returned something that is no CMS signature: update it and sign again.",
            ),
            Self::Signers(_) => SignerText::fixed(
                "В подписи должен быть ровно один подписавший: подпишите сам документ, а не подписанный файл.",
                "Қолтаңбада дәл бір қол қоюшы болуы керек: қол қойылған файлға емес, құжаттың өзіне қол қойыңыз.",
                "The signature must have exactly one signer: sign the document itself, not a signed file.",
            ),
            Self::NoCertificate => SignerText::fixed(
                "В подписи нет сертификата подписавшего: подпишите ещё раз через NCALayer.",
                "Қолтаңбада қол қоюшының сертификаты жоқ: NCALayer арқылы қайта қол қойыңыз.",
                "The signer's certificate is not in the signature: sign again with NCALayer.",
            ),
            Self::Attribute(_) | Self::SignatureValue => SignerText::fixed(
                "Подпись повреждена: подпишите документ ещё раз.",
                "Қолтаңба бүлінген: құжатқа қайта қол қойыңыз.",
                "The signature is damaged: sign the document again.",
            ),
            Self::ContentMissing => SignerText::fixed(
                "Документ должен быть внутри подписи, а его там нет: подпишите ещё раз на этой странице.",
                "Құжат қолтаңбаның ішінде болуы керек, бірақ ол жоқ: осы бетте қайта қол қойыңыз.",
                "The document has to be inside the signature and is not: sign again on this page.",
            ),
            Self::ContentInside => SignerText::fixed(
                "Подпись должна быть отдельной от документа: подпишите ещё раз на этой странице.",
                "Қолтаңба құжаттан бөлек болуы керек: осы бетте қайта қол қойыңыз.",
                "The signature has to be apart from the document: sign again on this page.",
            ),
            Self::ForeignContent => SignerText::fixed(
                "Подписан другой файл: обновите страницу и подпишите документ ещё раз.",
                "Басқа файлға қол қойылған: бетті жаңартып, құжатқа қайта қол қойыңыз.",
                "Another file was signed: reload the page and sign the document again.",
            ),
            Self::Algorithm(oid) => SignerText::filled(
                format!("Алгоритм подписи {oid} здесь не принимается: выберите другой ключ."),
                format!("{oid} қол қою алгоритмі мұнда қабылданбайды: басқа кілтті таңдаңыз."),
                format!("The signature algorithm {oid} is not accepted here: choose another key."),
            ),
            Self::NoNumber(which) => SignerText::filled(
                format!(
                    "В сертификате нет {}: выберите ключ для подписи того, кому послан документ.",
                    which.russian()
                ),
                format!(
                    "Сертификатта {} жоқ: құжат жіберілген адамның қол қою кілтін таңдаңыз.",
                    which.kazakh()
                ),
                format!(
                    "The certificate has no {}: choose the signing key of the person to whom the document was sent.",
                    which.latin()
                ),
            ),
            Self::WrongSigner { which, expected_end, found_end } => SignerText::filled(
                format!(
                    "Выбран чужой ключ: {} в сертификате кончается на {found_end}, а подписать должен владелец …{expected_end}. Выберите другой ключ.",
                    which.russian()
                ),
                format!(
                    "Басқа адамның кілті таңдалды: сертификаттағы {} {found_end} деп аяқталады, ал …{expected_end} иесі қол қоюы керек. Басқа кілтті таңдаңыз.",
                    which.kazakh()
                ),
                format!(
                    "Another one's key was chosen: the {} in its certificate ends with {found_end}, and the holder of …{expected_end} has to sign. Choose another key.",
                    which.latin()
                ),
            ),
            Self::Content(_) => SignerText::fixed(
                "Документ сейчас недоступен: повторите через минуту.",
                "Құжат қазір қолжетімсіз: бір минуттан кейін қайталаңыз.",
                "The document is not available at the moment: try again in a minute.",
            ),
        }
    }
}
