-- What a task loop needs to be left alone for weeks: the health of replicas, pools, fair turns, and what an app looked like.

-- Kinds -------------------------------------------------------------------------------------------------------------------------------
-- The kinds become rows, so that another kind is one row and not another table. The program turns foreign keys off while it upgrades,
-- and checks all of them before it goes on.
CREATE TABLE kind (
    name TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;

INSERT INTO kind (name) VALUES ('Analyzer'), ('App'), ('AppSet'), ('Pool'), ('Task');

CREATE TABLE object_next (
    uid         TEXT PRIMARY KEY,
    kind        TEXT NOT NULL REFERENCES kind (name),
    name        TEXT NOT NULL CHECK (name <> ''),
    labels      TEXT NOT NULL CHECK (json_valid(labels)),
    annotations TEXT NOT NULL CHECK (json_valid(annotations)),
    spec        TEXT NOT NULL CHECK (json_valid(spec)),
    generation  INTEGER NOT NULL CHECK (generation >= 1),
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    removed_at  INTEGER,
    file        TEXT NOT NULL,
    line        INTEGER NOT NULL,
    digest      TEXT NOT NULL,
    git_commit  TEXT,
    UNIQUE (kind, name)
) STRICT, WITHOUT ROWID;

INSERT INTO object_next SELECT uid, kind, name, labels, annotations, spec, generation, created_at, updated_at, removed_at, file, line,
    digest, git_commit FROM object;
DROP TABLE object;
ALTER TABLE object_next RENAME TO object;
CREATE INDEX object_by_file ON object (file) WHERE removed_at IS NULL;

-- Replicas ----------------------------------------------------------------------------------------------------------------------------
-- What is known of each address of a WebSocket analyzer. A breaker has no row: it follows from the latest endings on the replica.
CREATE TABLE replica (
    analyzer   TEXT NOT NULL,
    url        TEXT NOT NULL,
    healthy    INTEGER NOT NULL CHECK (healthy IN (0, 1)),
    -- failed probes in a row
    failures   INTEGER NOT NULL CHECK (failures >= 0),
    -- when `healthy` last changed
    changed_at INTEGER NOT NULL,
    -- when it last answered; NULL for never
    answered_at INTEGER,
    -- the latest problem; empty when there is none
    message    TEXT NOT NULL,
    -- what it said of itself
    version    TEXT NOT NULL DEFAULT '',
    protocols  TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(protocols)),
    tools      TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(tools)),
    PRIMARY KEY (analyzer, url)
) STRICT, WITHOUT ROWID;

-- Tasks -------------------------------------------------------------------------------------------------------------------------------
-- desired: written by the mirror
ALTER TABLE task ADD COLUMN owner TEXT NOT NULL DEFAULT '';
ALTER TABLE task ADD COLUMN pool TEXT;
ALTER TABLE task ADD COLUMN on_app_change INTEGER NOT NULL DEFAULT 0 CHECK (on_app_change IN (0, 1));
-- desired: written by people's requests. Take no result from another task in every round up to this one
ALTER TABLE task ADD COLUMN no_cache_round INTEGER NOT NULL DEFAULT 0;
-- observed: written by commits. When it came into its phase
ALTER TABLE task ADD COLUMN since INTEGER NOT NULL DEFAULT 0;
-- how often in a row it has waited for an analyzer that cannot be reached
ALTER TABLE task ADD COLUMN waits INTEGER NOT NULL DEFAULT 0;
-- how often in a row it was started over because its analyzer came back
ALTER TABLE task ADD COLUMN recoveries INTEGER NOT NULL DEFAULT 0;
-- what the app looked like when its latest attempt was opened
ALTER TABLE task ADD COLUMN app_digest TEXT;

-- desired: written by people's requests. Do not wait any longer while the status has the version that they saw. (This replaces a number of
-- an attempt, as a task can wait before it has had one.)
DROP INDEX task_unsettled;
ALTER TABLE task DROP COLUMN hurry_attempt;
ALTER TABLE task ADD COLUMN hurry_version INTEGER NOT NULL DEFAULT 0;
CREATE INDEX task_unsettled ON task (uid) WHERE
    (finished_at IS NOT NULL AND removed = 0
        AND (generation > observed_generation OR retry_round >= round OR (phase = 'Cancelled' AND reason = 'ManifestRemoved')))
    OR (phase = 'Pending'
        AND (removed = 1 OR cancel_round >= round
            OR (next_at IS NOT NULL AND (generation > observed_generation OR hurry_version >= version))));
-- Who waits for an analyzer outside of its queue.
CREATE INDEX task_waiting ON task (analyzer, reason) WHERE phase = 'Pending' AND reason IN ('AnalyzerUnavailable', 'BackOff', 'BreakerOpen');

UPDATE task SET since = coalesce(finished_at, started_at, created_at);

-- Attempts ----------------------------------------------------------------------------------------------------------------------------
ALTER TABLE attempt ADD COLUMN pool TEXT;
-- the tools that it was asked for; none for all that the analyzer has
ALTER TABLE attempt ADD COLUMN asked TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(asked));
-- whether it can be taken up again by its token after a restart of the controller
ALTER TABLE attempt ADD COLUMN resumable INTEGER NOT NULL DEFAULT 0 CHECK (resumable IN (0, 1));
ALTER TABLE attempt ADD COLUMN app_digest TEXT;
ALTER TABLE attempt ADD COLUMN cache_key TEXT;

CREATE INDEX attempt_replica_ended ON attempt (analyzer, replica, ended_at) WHERE ended_at IS NOT NULL;

-- Apps --------------------------------------------------------------------------------------------------------------------------------
-- what its files look like, and when the reading began that saw them so
ALTER TABLE app ADD COLUMN tree_digest TEXT;
ALTER TABLE app ADD COLUMN tree_seen_at INTEGER;

-- Freshness ---------------------------------------------------------------------------------------------------------------------------
-- The tasks that run again when the files of their app change, and the results that other tasks may take.
CREATE INDEX task_watching ON task (app) WHERE on_app_change = 1 AND removed = 0;
CREATE INDEX attempt_reusable ON attempt (cache_key, ended_at) WHERE cache_key IS NOT NULL;
-- Maintenance -------------------------------------------------------------------------------------------------------------------------
-- when its record was deleted since its directory had been gone for long; a directory that returns brings it back
ALTER TABLE app ADD COLUMN deleted_at INTEGER;
-- when it was set aside since it had ended long ago; it keeps everything, and is not listed any more
ALTER TABLE task ADD COLUMN aside_at INTEGER;

-- whom the return of an analyzer starts over
CREATE INDEX task_recoverable ON task (analyzer, recoveries) WHERE phase = 'Failed' AND reason = 'AnalyzerUnavailable' AND removed = 0 AND aside_at IS NULL;
CREATE INDEX app_missing ON app (missing_since) WHERE missing_since IS NOT NULL AND deleted_at IS NULL;
CREATE INDEX task_since ON task (phase, since) WHERE aside_at IS NULL AND finished_at IS NULL;
CREATE INDEX task_finished ON task (finished_at) WHERE aside_at IS NULL AND finished_at IS NOT NULL;
-- tasks that run again when their app comes back
CREATE INDEX task_of_deleted_app ON task (app) WHERE phase = 'Cancelled' AND reason = 'AppDeleted' AND removed = 0;
DROP INDEX task_by_phase;
CREATE INDEX task_by_phase ON task (phase, aside_at) WHERE removed = 0;

-- Pools -------------------------------------------------------------------------------------------------------------------------------
-- A slot of a pool is taken by an open attempt, or by one whose other side may still work; it is counted from these rows, never kept.
CREATE INDEX attempt_pool_open ON attempt (pool) WHERE outcome IS NULL AND pool IS NOT NULL;
CREATE INDEX attempt_pool_draining ON attempt (pool, slot_until) WHERE slot_until IS NOT NULL AND pool IS NOT NULL;
CREATE INDEX attempt_pool_opened ON attempt (pool, opened_at) WHERE pool IS NOT NULL;
-- when each lane was given a slot last, and when slots became free
CREATE INDEX attempt_pool_lane ON attempt (pool, analyzer, opened_at) WHERE pool IS NOT NULL;
CREATE INDEX attempt_pool_freed ON attempt (pool, max(ended_at, coalesce(slot_until, 0))) WHERE pool IS NOT NULL AND outcome IS NOT NULL;
-- who waits for a pool
CREATE INDEX task_pool ON task (pool, analyzer, priority) WHERE phase = 'Pending' AND reason = 'Queued' AND pool IS NOT NULL;

-- Turns -------------------------------------------------------------------------------------------------------------------------------
-- Fair share between the owners of tasks with one priority on one analyzer, as start-time fair queueing: the n-th waiting task of an owner
-- has a turn n after the head of the queue, so that owners alternate whatever they have queued. 0: it gets a turn when it is queued.
ALTER TABLE task ADD COLUMN turn INTEGER NOT NULL DEFAULT 0;

DROP INDEX task_queue;
-- The order of dispatch. With the pool, so that a thousand tasks of a full one are passed over without being read.
CREATE INDEX task_queue ON task (analyzer, priority DESC, turn, created_at, uid, pool) WHERE phase = 'Pending' AND reason = 'Queued';
CREATE INDEX task_owner ON task (analyzer, priority, owner, turn) WHERE phase = 'Pending' AND reason = 'Queued';

-- What the mirror would write: the owner that the label names, else the file if it declares several tasks, else the file's directory.
UPDATE task SET owner = (
    SELECT coalesce(
        nullif(o.labels ->> '$."manifestd.dev/owner"', ''),
        iif(EXISTS (SELECT 1 FROM object other
                    WHERE other.file = o.file AND other.removed_at IS NULL AND other.kind = 'Task' AND other.uid <> o.uid), o.file, NULL),
        nullif(rtrim(o.file, replace(o.file, '/', '')), ''),
        './')
    FROM object o WHERE o.uid = task.uid);
UPDATE task SET turn = line.turn
FROM (SELECT uid, row_number() OVER (PARTITION BY analyzer, priority, owner ORDER BY created_at, uid) AS turn
      FROM task WHERE phase = 'Pending' AND reason = 'Queued') AS line
WHERE line.uid = task.uid;

-- Triggers, so that nobody who writes a task can forget its turn. Each writes `turn` alone, which no trigger listens to.
CREATE TRIGGER task_queued_new AFTER INSERT ON task
WHEN NEW.phase = 'Pending' AND NEW.reason = 'Queued'
BEGIN
    UPDATE task SET turn = max(
        coalesce((SELECT turn FROM task INDEXED BY task_queue WHERE analyzer = NEW.analyzer AND priority = NEW.priority AND phase = 'Pending' AND reason = 'Queued'
                  AND uid <> NEW.uid ORDER BY turn LIMIT 1), 1),
        coalesce((SELECT turn FROM task INDEXED BY task_owner WHERE analyzer = NEW.analyzer AND priority = NEW.priority AND owner = NEW.owner AND phase = 'Pending'
                  AND reason = 'Queued' AND uid <> NEW.uid ORDER BY turn DESC LIMIT 1), 0) + 1)
    WHERE uid = NEW.uid;
END;

-- Another round, queue or owner: a new turn, since a set of thousands that is run again would else be ahead of everybody.
CREATE TRIGGER task_queued_afresh AFTER UPDATE OF phase, reason, round, priority, analyzer, owner ON task
WHEN NEW.phase = 'Pending' AND NEW.reason = 'Queued'
    AND (OLD.turn = 0 OR NEW.round <> OLD.round OR NEW.priority <> OLD.priority OR NEW.analyzer <> OLD.analyzer OR NEW.owner <> OLD.owner)
BEGIN
    UPDATE task SET turn = max(
        coalesce((SELECT turn FROM task INDEXED BY task_queue WHERE analyzer = NEW.analyzer AND priority = NEW.priority AND phase = 'Pending' AND reason = 'Queued'
                  AND uid <> NEW.uid ORDER BY turn LIMIT 1), 1),
        coalesce((SELECT turn FROM task INDEXED BY task_owner WHERE analyzer = NEW.analyzer AND priority = NEW.priority AND owner = NEW.owner AND phase = 'Pending'
                  AND reason = 'Queued' AND uid <> NEW.uid ORDER BY turn DESC LIMIT 1), 0) + 1)
    WHERE uid = NEW.uid;
END;

-- Back in the queue within its round: it keeps its turn, or has that of the head, which may have passed it meanwhile; its age puts it in
-- front then. A turn below the head's would turn the time of the queue back, and let newcomers overtake who waits.
CREATE TRIGGER task_queued_again AFTER UPDATE OF phase, reason ON task
WHEN NEW.phase = 'Pending' AND NEW.reason = 'Queued' AND (OLD.phase <> 'Pending' OR OLD.reason <> 'Queued')
    AND OLD.turn > 0 AND NEW.round = OLD.round AND NEW.priority = OLD.priority AND NEW.analyzer = OLD.analyzer AND NEW.owner = OLD.owner
BEGIN
    UPDATE task SET turn = max(turn, coalesce(
        (SELECT turn FROM task INDEXED BY task_queue WHERE analyzer = NEW.analyzer AND priority = NEW.priority AND phase = 'Pending' AND reason = 'Queued'
         AND uid <> NEW.uid ORDER BY turn LIMIT 1), 1))
    WHERE uid = NEW.uid;
END;

-- A turn of another queue says nothing in this one.
CREATE TRIGGER task_turn_lost AFTER UPDATE OF round, priority, analyzer, owner ON task
WHEN (NEW.phase <> 'Pending' OR NEW.reason <> 'Queued') AND NEW.turn <> 0
    AND (NEW.round <> OLD.round OR NEW.priority <> OLD.priority OR NEW.analyzer <> OLD.analyzer OR NEW.owner <> OLD.owner)
BEGIN
    UPDATE task SET turn = 0 WHERE uid = NEW.uid;
END;
