-- The first schema. Times are UTC milliseconds; JSON is canonical as the program writes it.
-- Columns are written by one floor only: the mirror writes what is desired, commits and reports write what is observed.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Every declared object of every kind. A removed one stays, so that history keeps its names and a manifest that returns finds its past.
CREATE TABLE object (
    uid         TEXT PRIMARY KEY,
    kind        TEXT NOT NULL CHECK (kind IN ('Analyzer', 'App', 'AppSet', 'Task')),
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

CREATE INDEX object_by_file ON object (file) WHERE removed_at IS NULL;

-- One row for each Task: what the dispatcher needs of its spec, and its status.
CREATE TABLE task (
    uid                 TEXT PRIMARY KEY REFERENCES object (uid) ON DELETE CASCADE,
    -- desired: written by the mirror
    name                TEXT NOT NULL,
    app                 TEXT NOT NULL,
    analyzer            TEXT NOT NULL,
    priority            INTEGER NOT NULL,
    created_at          INTEGER NOT NULL,
    generation          INTEGER NOT NULL CHECK (generation >= 1),
    removed             INTEGER NOT NULL DEFAULT 0 CHECK (removed IN (0, 1)),
    -- desired: written by people's requests
    -- cancel every round up to this one; the person saw this generation, so a newer spec runs all the same
    cancel_round        INTEGER NOT NULL DEFAULT 0,
    cancel_generation   INTEGER NOT NULL DEFAULT 0,
    -- run again after every finished round up to this one
    retry_round         INTEGER NOT NULL DEFAULT 0,
    -- do not wait any longer after every attempt up to this one
    hurry_attempt       INTEGER NOT NULL DEFAULT 0,
    -- observed: written by commits
    phase               TEXT NOT NULL DEFAULT 'Pending'
        CHECK (phase IN ('Pending', 'Running', 'Completed', 'PartialSuccess', 'Failed', 'Cancelled')),
    reason              TEXT NOT NULL DEFAULT 'Queued',
    message             TEXT NOT NULL DEFAULT '',
    observed_generation INTEGER NOT NULL DEFAULT 0,
    round               INTEGER NOT NULL DEFAULT 1,
    version             INTEGER NOT NULL DEFAULT 1,
    attempt             INTEGER NOT NULL DEFAULT 0,
    next_at             INTEGER,
    started_at          INTEGER,
    finished_at         INTEGER,
    high                INTEGER NOT NULL DEFAULT 0,
    medium              INTEGER NOT NULL DEFAULT 0,
    low                 INTEGER NOT NULL DEFAULT 0,
    unrated             INTEGER NOT NULL DEFAULT 0,
    CHECK (observed_generation <= generation),
    CHECK ((phase IN ('Completed', 'PartialSuccess', 'Failed', 'Cancelled')) = (finished_at IS NOT NULL))
) STRICT, WITHOUT ROWID;

-- The queue of each analyzer, in the order of dispatch; finished tasks are not in it.
CREATE INDEX task_queue ON task (analyzer, priority DESC, created_at, uid) WHERE phase = 'Pending' AND reason = 'Queued';
-- Pending tasks that wait for something else than a slot.
CREATE INDEX task_held ON task (app, reason) WHERE phase = 'Pending' AND reason <> 'Queued';
CREATE INDEX task_running ON task (uid) WHERE phase = 'Running';
-- What a lost wake-up could leave behind: the resync finds it here, whatever the size of the history.
-- (Running ones are all looked at, and so are held ones when their time has come.)
CREATE INDEX task_unsettled ON task (uid) WHERE
    (finished_at IS NOT NULL AND removed = 0
        AND (generation > observed_generation OR retry_round >= round OR (phase = 'Cancelled' AND reason = 'ManifestRemoved')))
    OR (phase = 'Pending'
        AND (removed = 1 OR cancel_round >= round
            OR (next_at IS NOT NULL AND (generation > observed_generation OR hurry_attempt >= attempt))));
CREATE UNIQUE INDEX task_by_name ON task (name);
CREATE INDEX task_by_phase ON task (phase) WHERE removed = 0;

-- Law 1: a terminal phase never changes, nor why and when it was reached; only another round can start.
CREATE TRIGGER task_terminal_is_final BEFORE UPDATE OF phase, reason, finished_at, round ON task
WHEN NEW.round < OLD.round OR (OLD.finished_at IS NOT NULL AND NEW.round = OLD.round
    AND (NEW.phase <> OLD.phase OR NEW.reason <> OLD.reason OR NEW.finished_at IS NOT OLD.finished_at))
BEGIN
    SELECT RAISE(ABORT, 'a terminal phase never changes within a round');
END;

-- One row for each try of a task.
CREATE TABLE attempt (
    task_uid         TEXT NOT NULL REFERENCES task (uid) ON DELETE CASCADE,
    number           INTEGER NOT NULL CHECK (number >= 1),
    round            INTEGER NOT NULL,
    generation       INTEGER NOT NULL,
    analyzer         TEXT NOT NULL,
    replica          TEXT NOT NULL,
    opened_at        INTEGER NOT NULL,
    deadline_at      INTEGER NOT NULL,
    -- what it says while it runs
    stage            TEXT,
    progress_message TEXT,
    fraction         REAL,
    pid              INTEGER,
    pid_start        INTEGER,
    -- how it ended; all NULL while it is open
    ended_at         INTEGER,
    outcome          TEXT CHECK (outcome IN ('Completed', 'PartialSuccess', 'Failed', 'Cancelled', 'TimedOut', 'HeartbeatLost',
                                             'Unavailable', 'Interrupted', 'ProtocolError')),
    reason           TEXT,
    message          TEXT,
    tools            TEXT CHECK (tools IS NULL OR json_valid(tools)),
    high             INTEGER NOT NULL DEFAULT 0,
    medium           INTEGER NOT NULL DEFAULT 0,
    low              INTEGER NOT NULL DEFAULT 0,
    unrated          INTEGER NOT NULL DEFAULT 0,
    result_dir       TEXT,
    result_sha256    TEXT,
    result_bytes     INTEGER,
    -- until when the slot stays occupied after the end, since the other side may still be working
    slot_until       INTEGER,
    PRIMARY KEY (task_uid, number),
    CHECK ((outcome IS NULL) = (ended_at IS NULL)),
    CHECK ((result_dir IS NULL) = (result_sha256 IS NULL))
) STRICT, WITHOUT ROWID;

-- Law 1 and 3: never two open attempts of one task.
CREATE UNIQUE INDEX attempt_open ON attempt (task_uid) WHERE outcome IS NULL;
CREATE INDEX attempt_slot ON attempt (analyzer, replica) WHERE outcome IS NULL;
CREATE INDEX attempt_draining ON attempt (slot_until, analyzer, replica) WHERE slot_until IS NOT NULL;
CREATE INDEX attempt_opened ON attempt (analyzer, opened_at);

CREATE TRIGGER attempt_ending_is_final BEFORE UPDATE OF outcome ON attempt
WHEN OLD.outcome IS NOT NULL
BEGIN
    SELECT RAISE(ABORT, 'an attempt ends once');
END;

-- What is observed of each App.
CREATE TABLE app (
    uid           TEXT PRIMARY KEY REFERENCES object (uid) ON DELETE CASCADE,
    app_set       TEXT,
    missing_since INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE condition (
    uid        TEXT NOT NULL,
    type       TEXT NOT NULL,
    holds      INTEGER NOT NULL CHECK (holds IN (0, 1)),
    reason     TEXT NOT NULL,
    message    TEXT NOT NULL,
    changed_at INTEGER NOT NULL,
    PRIMARY KEY (uid, type)
) STRICT, WITHOUT ROWID;

CREATE TABLE event (
    id       INTEGER PRIMARY KEY,
    uid      TEXT NOT NULL,
    kind     TEXT NOT NULL,
    name     TEXT NOT NULL,
    type     TEXT NOT NULL CHECK (type IN ('Normal', 'Warning')),
    reason   TEXT NOT NULL,
    message  TEXT NOT NULL,
    first_at INTEGER NOT NULL,
    last_at  INTEGER NOT NULL,
    count    INTEGER NOT NULL DEFAULT 1
) STRICT;

CREATE INDEX event_by_object ON event (uid, id);

-- What the mirror has read: an unchanged file is not read again.
CREATE TABLE file (
    path     TEXT PRIMARY KEY,
    size     INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    inode    INTEGER NOT NULL,
    digest   TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- What is wrong with the files as they are now.
CREATE TABLE problem (
    id     INTEGER PRIMARY KEY,
    -- the file whose reading found it; usually the one it is in, but a name declared twice is a problem in both places
    owner  TEXT NOT NULL,
    file   TEXT NOT NULL,
    line   INTEGER NOT NULL,
    code   TEXT NOT NULL,
    body   TEXT NOT NULL CHECK (json_valid(body))
) STRICT;

CREATE INDEX problem_by_owner ON problem (owner);
