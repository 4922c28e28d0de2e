//! Which of a portal's second channels the configuration wants. What runs of them is decided at their start.

/// Which second channels are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelMode {
    /// The best that there is: the offline queue with an application, else a sweep.
    Auto,
    /// Only a sweep.
    Sweep,
    /// The offline queue, and a sweep.
    Both,
    /// None.
    Off,
}

impl ChannelMode {
    /// As the configuration writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Sweep => "sweep",
            Self::Both => "both",
            Self::Off => "off",
        }
    }
}
