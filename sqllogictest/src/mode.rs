//! The modes in which a suite runs.

/// How a suite's SELECTs are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// As they stand.
    AdHoc,
    /// By a view made as soon as the relations exist, before rows come.
    MaintainedBefore,
    /// By a view made when the SELECT is reached.
    MaintainedAfter,
    /// As `MaintainedBefore`, and before each SELECT all rows of all tables go and come again, in many transactions.
    Churned,
    /// As `MaintainedAfter`, and the server is killed and started again before each SELECT that follows a change.
    Restarted,
}

impl Mode {
    /// All of them.
    pub const ALL: [Mode; 5] =
        [Mode::AdHoc, Mode::MaintainedBefore, Mode::MaintainedAfter, Mode::Churned, Mode::Restarted];

    /// The label that `onlyif` and `skipif` name.
    pub fn label(self) -> &'static str {
        match self {
            Mode::AdHoc => "adhoc",
            Mode::MaintainedBefore => "before",
            Mode::MaintainedAfter => "after",
            Mode::Churned => "churned",
            Mode::Restarted => "restarted",
        }
    }

    /// Whether views answer.
    pub fn is_maintained(self) -> bool {
        self != Mode::AdHoc
    }

    /// Whether views are made before rows come.
    pub fn is_early(self) -> bool {
        matches!(self, Mode::MaintainedBefore | Mode::Churned)
    }
}
