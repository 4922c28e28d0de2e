//! Runners that break a rule on purpose: the witness must notice each of them, or it is no witness.

use super::laws::Law;
use super::plan::Plan;

/// What is done wrongly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// The effect is carried out before its decision is on disk.
    ActsBeforeCommit,
    /// After a crash, orders of unknown outcome are taken for undone.
    TakesLostForUndone,
    /// A lost answer is taken for a request that never left.
    RepeatsUnknown,
    /// Answers to older attempts are given the present token.
    IgnoresFences,
    /// A new process starts with an empty bucket.
    ForgetsBudget,
    /// The sender hears "accepted" before anything is on disk.
    AcknowledgesEarly,
    /// Notices are applied and stay in the inbox.
    KeepsNotices,
    /// A later word of the signing service replaces the first.
    LastStateWins,
    /// What a workflow is recognised by is put into the reason of a failure.
    TellsSecrets,
    /// Timers never fire.
    StopsTimers,
    /// The disk says that it has synced and has not.
    DiskLies,
    /// What a failing disk refuses is taken for done.
    IgnoresRefusals,
    /// Of the files of one item only the first is followed.
    ForgetsSiblings,
    /// Everything is taken to come from the first portal.
    MixesPortals,
    /// The calls to both portals are counted by the budget of the first.
    MixesBudgets,
    /// A lost answer of a sending that nothing finds is taken for a request that never left.
    SendsAgainUnasked,
    /// An error of the service in answer to such a sending is taken for a refusal.
    TakesErrorsForRefusals,
    /// People have such a document sent again without looking for it.
    LooksNowhere,
    /// The process of one sending is taken for that of another.
    MixesProcesses,
}

impl Sabotage {
    pub const ALL: [Self; 19] = [
        Self::ActsBeforeCommit,
        Self::TakesLostForUndone,
        Self::RepeatsUnknown,
        Self::IgnoresFences,
        Self::ForgetsBudget,
        Self::AcknowledgesEarly,
        Self::KeepsNotices,
        Self::LastStateWins,
        Self::TellsSecrets,
        Self::StopsTimers,
        Self::DiskLies,
        Self::IgnoresRefusals,
        Self::ForgetsSiblings,
        Self::MixesPortals,
        Self::MixesBudgets,
        Self::SendsAgainUnasked,
        Self::TakesErrorsForRefusals,
        Self::LooksNowhere,
        Self::MixesProcesses,
    ];

    /// Whether it makes a difference to this plan.
    pub fn matters_to(self, plan: &Plan) -> bool {
        match self {
            Self::SendsAgainUnasked
            | Self::TakesErrorsForRefusals
            | Self::LooksNowhere
            | Self::MixesProcesses => plan.sends_whole(),
            _ => true,
        }
    }

    /// The laws that may notice it first.
    pub fn caught_by(self) -> &'static [Law] {
        match self {
            Self::ActsBeforeCommit => &[Law::I5],
            Self::TakesLostForUndone | Self::RepeatsUnknown => &[Law::I1, Law::I2, Law::I3],
            Self::IgnoresFences => &[Law::I14, Law::I1, Law::I2, Law::I3],
            Self::ForgetsBudget => &[Law::I7],
            Self::AcknowledgesEarly | Self::KeepsNotices => &[Law::I10],
            Self::LastStateWins => &[Law::I8],
            Self::TellsSecrets => &[Law::I9],
            Self::StopsTimers => &[Law::I11],
            Self::DiskLies => &[Law::I12, Law::I10],
            Self::IgnoresRefusals => &[Law::I5, Law::I10],
            Self::ForgetsSiblings | Self::MixesPortals => &[Law::I10],
            Self::MixesBudgets => &[Law::I7],
            Self::SendsAgainUnasked
            | Self::TakesErrorsForRefusals
            | Self::LooksNowhere
            | Self::MixesProcesses => &[Law::I1],
        }
    }
}
