//! `edobridge completions SHELL`: the words that a shell can complete.

use super::exit::ExitStatus;
use clap::{Args, Command};
use clap_complete::Shell;
use std::io::Write;

/// Дополнение команд в оболочке. / Print completions for a shell.
///
/// Examples:
///   edobridge completions bash > /etc/bash_completion.d/edobridge
///   edobridge completions zsh  > "${fpath[1]}/_edobridge"
///   edobridge completions fish > ~/.config/fish/completions/edobridge.fish
#[derive(Debug, Clone, Args)]
#[command(verbatim_doc_comment)]
pub struct CompletionsArgs {
    /// The shell.
    pub shell: Shell,
}

/// Prints them. `root` is the whole command.
pub fn run(args: &CompletionsArgs, mut root: Command) -> ExitStatus {
    // written to memory first: the generator panics on a reader that has gone away
    let mut script = Vec::new();
    let name = root.get_name().to_owned();
    clap_complete::generate(args.shell, &mut root, name, &mut script);
    let _ = std::io::stdout().lock().write_all(&script);
    ExitStatus::Fine
}
