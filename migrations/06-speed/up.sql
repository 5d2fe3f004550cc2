-- Less work for each change of a task: turns are given by one trigger instead of three, and a new task may bring its own along.

DROP TRIGGER task_queued_new;
DROP TRIGGER task_queued_afresh;
DROP TRIGGER task_queued_again;
DROP TRIGGER task_turn_lost;

CREATE TRIGGER task_queued_new AFTER INSERT ON task
WHEN NEW.phase = 'Pending' AND NEW.reason = 'Queued' AND NEW.turn = 0
BEGIN
    UPDATE task SET turn = max(
        coalesce((SELECT turn FROM task INDEXED BY task_queue WHERE analyzer = NEW.analyzer AND priority = NEW.priority AND phase = 'Pending' AND reason = 'Queued'
                  AND uid <> NEW.uid ORDER BY turn LIMIT 1), 1),
        coalesce((SELECT turn FROM task INDEXED BY task_owner WHERE analyzer = NEW.analyzer AND priority = NEW.priority AND owner = NEW.owner AND phase = 'Pending'
                  AND reason = 'Queued' AND uid <> NEW.uid ORDER BY turn DESC LIMIT 1), 0) + 1)
    WHERE uid = NEW.uid;
END;

-- Who comes into a queue for the first time, or with another round, queue or owner, has a turn behind the last of the same owner: a set of thousands
-- that is run again would else be ahead of everybody. Who comes back within its round keeps its turn, or has that of the head, which may have
-- passed it meanwhile; its age puts it in front then. A turn below the head's would turn the time of the queue back, and let newcomers overtake
-- who waits. And a turn of another queue says nothing to who is in none.
CREATE TRIGGER task_turn AFTER UPDATE OF phase, reason, round, priority, analyzer, owner ON task
WHEN iif(NEW.phase = 'Pending' AND NEW.reason = 'Queued',
         OLD.turn = 0 OR OLD.phase <> 'Pending' OR OLD.reason <> 'Queued'
             OR NEW.round <> OLD.round OR NEW.priority <> OLD.priority OR NEW.analyzer <> OLD.analyzer OR NEW.owner <> OLD.owner,
         NEW.turn <> 0
             AND (NEW.round <> OLD.round OR NEW.priority <> OLD.priority OR NEW.analyzer <> OLD.analyzer OR NEW.owner <> OLD.owner))
BEGIN
    UPDATE task SET turn = CASE
        WHEN NEW.phase <> 'Pending' OR NEW.reason <> 'Queued' THEN 0
        ELSE max(
            coalesce((SELECT turn FROM task INDEXED BY task_queue WHERE analyzer = NEW.analyzer AND priority = NEW.priority AND phase = 'Pending' AND reason = 'Queued'
                      AND uid <> NEW.uid ORDER BY turn LIMIT 1), 1),
            iif(OLD.turn = 0 OR NEW.round <> OLD.round OR NEW.priority <> OLD.priority OR NEW.analyzer <> OLD.analyzer OR NEW.owner <> OLD.owner,
                coalesce((SELECT turn FROM task INDEXED BY task_owner WHERE analyzer = NEW.analyzer AND priority = NEW.priority AND owner = NEW.owner AND phase = 'Pending'
                          AND reason = 'Queued' AND uid <> NEW.uid ORDER BY turn DESC LIMIT 1), 0) + 1,
                turn))
        END
    WHERE uid = NEW.uid;
END;
