//! Why a task is where it is: one closed list of CamelCase reasons, used in status, events, `why` and exit messages.

crate::words! {
    /// Why a task is in its phase, or why an attempt ended as it did.
    pub enum Reason {
        /// Ready to run; waits for a free slot.
        Queued,
        /// Waits before it is tried again.
        BackOff,
        /// `spec.suspend` is true.
        Suspended,
        /// No App of that name is known.
        AppNotFound,
        /// The app's directory is not there.
        AppMissing,
        /// The app lacks what this analyzer needs to find it: `model` and `number`.
        AppNotAddressable,
        /// The files of the app have not been read since the task was asked for.
        AppNotRead,
        /// No Analyzer of that name is known.
        AnalyzerNotFound,
        /// No Pool of that name is known.
        PoolNotFound,
        /// No Pipeline of that name is known, which a step runs.
        PipelineNotFound,
        /// The analyzer cannot be reached, and nothing was sent.
        AnalyzerUnavailable,
        /// The analyzer answers, but broke what was sent to it so often that it is left alone for a while.
        BreakerOpen,
        /// An attempt is running.
        AttemptStarted,
        /// Every requested tool ran.
        AllToolsRan,
        /// Some requested tools ran and some did not.
        SomeToolsFailed,
        /// A tool ran and failed.
        ToolFailed,
        /// A requested tool is known not to have run.
        ToolNotRun,
        /// The running app did not answer at its target URLs.
        TargetsUnreachable,
        /// The analyzer has no key for the service that it asks.
        ApiKeyMissing,
        /// The analyzer answered with an error.
        AnalyzerError,
        /// The connection ended before the result.
        ConnectionLost,
        /// The analyzer said something outside the protocol.
        ProtocolError,
        /// The attempt took longer than its deadline.
        DeadlineExceeded,
        /// There was no sign of life for too long.
        HeartbeatLost,
        /// It hung: attempt after attempt went silent, or nobody carried it.
        Stuck,
        /// There was no room on the disk for the result, or not enough to begin; it is tried again and uses up no retry.
        DiskFull,
        /// The result is larger than the limit.
        ResultTooLarge,
        /// The program ended with an exit code that does not mean success.
        ExitCode,
        /// The program could not be started.
        SpawnFailed,
        /// The program's output is not what the analyzer declares.
        OutputInvalid,
        /// The result could not be written to disk.
        ResultNotStored,
        /// The controller ended while the attempt ran; it starts again without using up a retry.
        Interrupted,
        /// The controller was interrupted too often while this task ran.
        TooManyInterruptions,
        /// It waited for too long, and not for its turn.
        PendingTooLong,
        /// Its app was deleted after its directory had been gone for long.
        AppDeleted,
        /// Its manifest was removed.
        ManifestRemoved,
        /// A person cancelled it.
        CancelledByUser,
        /// Its spec changed while it ran.
        SpecChanged,
        /// The files of its app changed.
        AppChanged,
        /// The result of an attempt on the same files was taken; nothing ran.
        Reused,
        /// A person asked for another run.
        RetriedByUser,
        /// An earlier run of its pipeline has not ended.
        ConcurrencyLimit,
        /// Its steps are being run.
        StepsRunning,
        /// A person is asked.
        WaitingForApproval,
        /// Every step did all it should.
        AllStepsCompleted,
        /// Some steps or items did not succeed.
        SomeStepsFailed,
        /// No step is known to have worked.
        NoStepSucceeded,
        /// A critical step has failed.
        CriticalStepFailed,
        /// The run that it belongs to was cancelled.
        RunCancelled,
        /// A newer revision, or a later slot, took its place.
        Superseded,
        /// What it needs has failed.
        DependencyFailed,
        /// What its step asks of others does not hold.
        ConditionNotMet,
        /// A person said no, or nobody said yes in time.
        Rejected,
        /// There was nothing to do it for.
        NoItems,
        /// One of its children has started over.
        ChildRestarted,
        /// It ended in the old system, and its record was taken over from there.
        Imported,
        /// The analyzer's configuration cannot be run as it stands.
        InvalidConfiguration,
    }
}

impl Reason {
    /// Whether trying again can help: things that pass by themselves are retried, things a person must mend are not. Where single tools
    /// failed or did not run, each of them says besides whether that is permanent.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        match self {
            Self::ToolFailed
            | Self::ToolNotRun
            | Self::SomeToolsFailed
            | Self::TargetsUnreachable
            | Self::AnalyzerError
            | Self::AnalyzerUnavailable
            | Self::ConnectionLost
            | Self::ProtocolError
            | Self::DeadlineExceeded
            | Self::HeartbeatLost
            | Self::ExitCode
            | Self::OutputInvalid
            | Self::ResultNotStored
            | Self::DiskFull
            | Self::Interrupted => true,
            Self::Queued
            | Self::ConcurrencyLimit
            | Self::StepsRunning
            | Self::WaitingForApproval
            | Self::AllStepsCompleted
            | Self::SomeStepsFailed
            | Self::NoStepSucceeded
            | Self::CriticalStepFailed
            | Self::RunCancelled
            | Self::Superseded
            | Self::DependencyFailed
            | Self::ConditionNotMet
            | Self::Rejected
            | Self::NoItems
            | Self::ChildRestarted
            | Self::BackOff
            | Self::Suspended
            | Self::AppNotFound
            | Self::AppMissing
            | Self::AppNotAddressable
            | Self::AppNotRead
            | Self::AnalyzerNotFound
            | Self::PoolNotFound
            | Self::PipelineNotFound
            | Self::BreakerOpen
            | Self::AttemptStarted
            | Self::AllToolsRan
            | Self::ApiKeyMissing
            | Self::Stuck
            | Self::ResultTooLarge
            | Self::SpawnFailed
            | Self::TooManyInterruptions
            | Self::PendingTooLong
            | Self::AppDeleted
            | Self::ManifestRemoved
            | Self::CancelledByUser
            | Self::SpecChanged
            | Self::AppChanged
            | Self::Reused
            | Self::RetriedByUser
            | Self::Imported
            | Self::InvalidConfiguration => false,
        }
    }
}
