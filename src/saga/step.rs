//! Step classes: what may be done after an unknown outcome.

/// What a step's remote call allows after its outcome is unknown (DESIGN section 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StepClass {
    /// Changes nothing: repeat freely.
    Read,
    /// The remote recognises a repeat by our key: repeat with the same key.
    Keyed,
    /// Look first whether it happened; then repeat or adopt.
    Probe,
    /// Never repeat by itself: a person decides.
    Blind,
}
