//! What a person can do about each reason: one sentence for every one, for `why` and for `get tasks --stuck`.

use crate::resource::reason::Reason;

/// What to do about a task that is where it is for this reason, or what it waits for.
pub(crate) const fn advice(reason: Reason) -> &'static str {
    match reason {
        Reason::Queued => {
            "it starts when its turn comes; get analyzers shows slots in use, a higher spec.priority goes first"
        }
        Reason::BackOff => "it is tried again by itself; manifestd retry tries it now",
        Reason::Suspended => "set spec.suspend to false",
        Reason::AppNotFound => "declare the App, or correct spec.app",
        Reason::AppMissing => "bring the app's directory back, or remove the task",
        Reason::AppNotRead => "its app's files are read first; describe app says what keeps that from ending",
        Reason::AppChanged => "it runs again by itself",
        Reason::Reused => "nothing is left to do; manifestd retry --no-cache really runs it",
        Reason::AppNotAddressable => "give the App spec.model and spec.number",
        Reason::AnalyzerNotFound => "declare the Analyzer, or correct spec.analyzer",
        Reason::PoolNotFound => "declare the Pool, or correct spec.pool",
        Reason::PipelineNotFound => "declare the Pipeline, or correct the step",
        Reason::BreakerOpen => {
            "it goes on by itself with one trial; look at why the analyzer breaks what is sent to it (its own log)"
        }
        Reason::AnalyzerUnavailable => "start it (embedded: needs embeddedAnalyzer), or correct its address",
        Reason::AttemptStarted => "manifestd logs -f shows what it says, manifestd cancel stops it",
        Reason::AllToolsRan => "nothing is left to do; manifestd results shows what was found",
        Reason::SomeToolsFailed => {
            "manifestd results says which tools are missing and why; mend that, then manifestd retry"
        }
        Reason::ToolFailed => "manifestd logs shows what the tool said; mend that, then manifestd retry",
        Reason::ToolNotRun => "install the tool in the analyzer, or correct spec.tools, then manifestd retry",
        Reason::TargetsUnreachable => "start the app, or correct its targetUrls, then manifestd retry",
        Reason::ApiKeyMissing => "give the analyzer its key, then manifestd retry",
        Reason::AnalyzerError => "look at the analyzer's own log, then manifestd retry",
        Reason::ConnectionLost => "look at the network and at whether the analyzer crashed, then manifestd retry",
        Reason::ProtocolError => "look at whether the address is that of an analyzer, then manifestd retry",
        Reason::DeadlineExceeded => "give it more time with spec.activeDeadlineSeconds, or ask for fewer tools",
        Reason::HeartbeatLost => "look at whether the analyzer hangs; it is started again by itself",
        Reason::Stuck => "restart the analyzer, which went silent again and again, then manifestd retry",
        Reason::DiskFull => "make room where the state directory lies; it is tried again by itself",
        Reason::ResultTooLarge => "ask for fewer tools in each task",
        Reason::ExitCode => {
            "manifestd logs shows what the program said; add the code to successExitCodes if it is none of failure"
        }
        Reason::SpawnFailed => "install the program, or correct spec.command.argv, then manifestd retry",
        Reason::OutputInvalid => "correct spec.command.output, or what the program prints, then manifestd retry",
        Reason::ResultNotStored => "look at the state directory and the rights in it, then manifestd retry",
        Reason::Interrupted => "it is started again by itself",
        Reason::TooManyInterruptions => "find out whether the task ends the controller, then manifestd retry",
        Reason::PendingTooLong => "mend what it waited for, then manifestd retry",
        Reason::AppDeleted => "bring the app's directory back: it runs again by itself; or remove the task",
        Reason::ManifestRemoved => "put the manifest back; of a run another one is made then",
        Reason::CancelledByUser => "manifestd retry runs it again",
        Reason::SpecChanged | Reason::RetriedByUser => "it runs again by itself",
        Reason::ConcurrencyLimit => {
            "it begins when the runs before it have ended; spec.maxConcurrentRuns lets more begin at once"
        }
        Reason::StepsRunning => "manifestd tree shows how far each step is",
        Reason::WaitingForApproval => "manifestd approve RUN STEP, or manifestd reject RUN STEP",
        Reason::AllStepsCompleted => "nothing is left to do",
        Reason::SomeStepsFailed | Reason::NoStepSucceeded | Reason::CriticalStepFailed => {
            "manifestd tree shows what failed; mend that, then manifestd retry RUN"
        }
        Reason::RunCancelled => "manifestd retry RUN runs what was cancelled",
        Reason::Superseded => "nothing is left to do; a later run took its place",
        Reason::DependencyFailed => "mend what it needs, then manifestd retry RUN",
        Reason::ConditionNotMet => "nothing is left to do; its `when` does not hold",
        Reason::Rejected => "manifestd retry RUN asks again",
        Reason::NoItems => "see why its forEach finds nothing, then manifestd retry RUN",
        Reason::ChildRestarted => "it goes on by itself",
        Reason::Imported => "manifestd retry runs it here, once its app and its analyzer are declared",
        Reason::InvalidConfiguration => "correct what the message names: the analyzer, the task or the pipeline",
    }
}

/// Whether a Pending task with this reason waits until a person does something.
pub(crate) const fn waits_for_a_person(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Suspended
            | Reason::AppNotFound
            | Reason::AppMissing
            | Reason::AppNotAddressable
            | Reason::AnalyzerNotFound
            | Reason::PoolNotFound
            | Reason::PipelineNotFound
            | Reason::DiskFull
            | Reason::InvalidConfiguration
    )
}
