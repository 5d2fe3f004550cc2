//! The turn of a new task in the queue of its analyzer.

/// SQL that gives it: that of the head of the queue, or the one after the last of the same owner, whichever is later. The parameters are the analyzer,
/// the priority and the owner. A task that is in the queue already gets another one by the trigger `task_turn`.
macro_rules! first_turn {
    ($analyzer:literal, $priority:literal, $owner:literal) => {
        concat!(
            "max(coalesce((SELECT turn FROM task INDEXED BY task_queue WHERE analyzer = ",
            $analyzer,
            " AND priority = ",
            $priority,
            " AND phase = 'Pending' AND reason = 'Queued' ORDER BY turn LIMIT 1), 1),
                 coalesce((SELECT turn FROM task INDEXED BY task_owner WHERE analyzer = ",
            $analyzer,
            " AND priority = ",
            $priority,
            " AND owner = ",
            $owner,
            " AND phase = 'Pending' AND reason = 'Queued' ORDER BY turn DESC LIMIT 1), 0) + 1)"
        )
    };
}

pub(super) use first_turn;
