//! Keys, certificates and signatures, made by the openssl command.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use tempfile::TempDir;

/// The IIN of the wanted signer.
pub const IIN: &str = "111111111111";
/// The BIN of the wanted signer's organisation.
pub const BIN: &str = "222222222222";

/// What a key is.
#[derive(Clone, Copy)]
pub enum Key {
    Rsa,
    P256,
    P384,
}

/// Somebody who can sign.
#[derive(Debug, Clone)]
pub struct Signer {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// How a signature is made.
#[derive(Debug, Clone, Copy, Default)]
pub struct Manner {
    pub attached: bool,
    /// Further arguments of `openssl cms -sign`.
    pub more: &'static [&'static str],
}

pub const ATTACHED: Manner = Manner { attached: true, more: &[] };
pub const DETACHED: Manner = Manner { attached: false, more: &[] };

/// The signers of all tests of this process: keys take a while.
pub struct People {
    dir: TempDir,
    pub aigul: Signer,
    pub stranger: Signer,
    pub on_p256: Signer,
    pub on_p384: Signer,
    pub nameless: Signer,
}

pub fn people() -> &'static People {
    static PEOPLE: OnceLock<People> = OnceLock::new();
    PEOPLE.get_or_init(|| {
        let dir = TempDir::new().expect("a temporary directory");
        let named =
            |name: &str, iin: &str| format!("/C=KZ/CN={name}/serialNumber=IIN{iin}/O=LLP/OU=BIN{BIN}");
        let signer = |file: &str, key: Key, subject: &str| Signer::new(dir.path(), file, key, subject);
        let aigul = signer("aigul", Key::Rsa, &named("АЙГУЛЬ СЕРИКОВА", IIN));
        let stranger = signer("stranger", Key::Rsa, &named("СТРАННИК", "333333334444"));
        let on_p256 = signer("p256", Key::P256, &named("EC", IIN));
        let on_p384 = signer("p384", Key::P384, &named("EC", IIN));
        let nameless = signer("nameless", Key::P256, "/C=KZ/CN=NOBODY");
        People { dir, aigul, stranger, on_p256, on_p384, nameless }
    })
}

impl Signer {
    pub fn new(dir: &Path, file: &str, key: Key, subject: &str) -> Self {
        let certificate = dir.join(format!("{file}.crt"));
        let own = dir.join(format!("{file}.key"));
        let kind: &[&str] = match key {
            Key::Rsa => &["-newkey", "rsa:2048"],
            Key::P256 => &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
            Key::P384 => &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"],
        };
        let mut command = openssl("req");
        command.args(["-x509", "-nodes", "-utf8", "-days", "30", "-subj", subject]).args(kind);
        command.arg("-keyout").arg(&own).arg("-out").arg(&certificate);
        run(command);
        Self { certificate, key: own }
    }

    /// A signature of `content`, binary.
    pub fn sign(&self, content: &[u8], manner: Manner) -> Vec<u8> {
        sign(&[self], content, manner)
    }
}

/// A signature by several people.
pub fn sign(signers: &[&Signer], content: &[u8], manner: Manner) -> Vec<u8> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::SeqCst);
    let dir = people().dir.path();
    let (file, out) = (dir.join(format!("{number}.bin")), dir.join(format!("{number}.cms")));
    std::fs::write(&file, content).expect("the content is written");
    let mut command = openssl("cms");
    command.args(["-sign", "-binary", "-outform", "DER", "-in"]).arg(&file).arg("-out").arg(&out);
    for signer in signers {
        command.arg("-signer").arg(&signer.certificate).arg("-inkey").arg(&signer.key);
    }
    if manner.attached {
        command.arg("-nodetach");
    }
    command.args(manner.more);
    run(command);
    let cms = std::fs::read(&out).expect("openssl has written the signature");
    let _ = (std::fs::remove_file(&file), std::fs::remove_file(&out));
    cms
}

fn openssl(verb: &str) -> Command {
    let mut command = Command::new("openssl");
    command.arg(verb);
    command
}

fn run(mut command: Command) {
    let done = command.output().expect("openssl is installed");
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
}
