//! The protocols that a collector may speak.

/// A protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// That of a Systole collector.
    Native,
    /// That of a VectorFlow server, version 1.
    VectorFlow,
}

/// Which of them the agent speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ProtocolSetting {
    /// The one that the collector speaks: the agent asks.
    #[default]
    Auto,
    /// This one, without a question.
    Fixed(Protocol),
}

impl Protocol {
    /// Each protocol.
    pub(crate) const ALL: [Protocol; 2] = [Protocol::Native, Protocol::VectorFlow];

    /// As the configuration names it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Protocol::Native => "native",
            Protocol::VectorFlow => "vectorflow",
        }
    }

    /// Reads what [`Self::as_str`] wrote.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.as_str() == text)
    }
}

impl ProtocolSetting {
    /// As the configuration names it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            ProtocolSetting::Auto => "auto",
            ProtocolSetting::Fixed(protocol) => protocol.as_str(),
        }
    }

    /// Reads what [`Self::as_str`] wrote.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text == "auto" { Some(ProtocolSetting::Auto) } else { Protocol::parse(text).map(ProtocolSetting::Fixed) }
    }
}
