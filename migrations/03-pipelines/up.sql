-- Pipelines: runs with their children, and the revisions of every definition.

INSERT INTO kind (name) VALUES ('Pipeline');

-- Revisions ---------------------------------------------------------------------------------------------------------------------------
-- The document as it stands in its file; another text is another revision. The current one is in the object's row, older ones are below.
ALTER TABLE object ADD COLUMN revision INTEGER NOT NULL DEFAULT 1;
ALTER TABLE object ADD COLUMN manifest TEXT NOT NULL DEFAULT '';
ALTER TABLE object ADD COLUMN manifest_digest TEXT NOT NULL DEFAULT '';
ALTER TABLE object ADD COLUMN revised_at INTEGER NOT NULL DEFAULT 0;
UPDATE object SET revised_at = updated_at;
-- Every file is read once more, so that the texts of what is declared are known.
DELETE FROM file;

CREATE TABLE revision (
    uid             TEXT NOT NULL REFERENCES object (uid) ON DELETE CASCADE,
    revision        INTEGER NOT NULL,
    generation      INTEGER NOT NULL,
    manifest        TEXT NOT NULL,
    manifest_digest TEXT NOT NULL,
    spec            TEXT NOT NULL CHECK (json_valid(spec)),
    revised_at      INTEGER NOT NULL,
    file            TEXT NOT NULL,
    line            INTEGER NOT NULL,
    git_commit      TEXT,
    PRIMARY KEY (uid, revision)
) STRICT, WITHOUT ROWID;

-- What is known of a commit that objects came from.
CREATE TABLE git_commit (
    hash    TEXT PRIMARY KEY,
    author  TEXT NOT NULL,
    at      INTEGER NOT NULL,
    subject TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Runs --------------------------------------------------------------------------------------------------------------------------------
-- The canonical spec that runs are pinned to, by its digest.
CREATE TABLE pinned (
    digest TEXT PRIMARY KEY,
    spec   TEXT NOT NULL CHECK (json_valid(spec))
) STRICT, WITHOUT ROWID;

CREATE TABLE run (
    uid             TEXT PRIMARY KEY,
    name            TEXT NOT NULL UNIQUE,
    pipeline        TEXT NOT NULL,
    pipeline_uid    TEXT NOT NULL REFERENCES object (uid) ON DELETE CASCADE,
    -- what it is pinned to: the revision it came from, with the digest of that manifest, and the digest of the spec
    generation      INTEGER NOT NULL,
    revision        INTEGER NOT NULL,
    manifest_digest TEXT NOT NULL,
    digest          TEXT NOT NULL REFERENCES pinned (digest),
    -- the pipelines that its steps run, by name, each pinned when the root was made
    pins            TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(pins)),
    params          TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(params)),
    git_commit      TEXT,
    cause           TEXT NOT NULL CHECK (cause IN ('Apply', 'Manual', 'Schedule', 'Backfill', 'Rerun', 'Step')),
    scheduled_at    INTEGER,
    created_at      INTEGER NOT NULL,
    parent          TEXT REFERENCES run (uid) ON DELETE CASCADE,
    depth           INTEGER NOT NULL DEFAULT 0,
    -- desired: written by people's requests. 1: end its steps; 2: end what runs finally, too
    cancel          INTEGER NOT NULL DEFAULT 0 CHECK (cancel IN (0, 1, 2)),
    cancel_message  TEXT NOT NULL DEFAULT '',
    -- begin another round after every finished one up to this; which steps, as JSON: {"step": "All" | "Bad"}
    retry_round     INTEGER NOT NULL DEFAULT 0,
    retry_modes     TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(retry_modes)),
    -- observed: written by commits
    phase           TEXT NOT NULL DEFAULT 'Pending'
        CHECK (phase IN ('Pending', 'Running', 'Completed', 'PartialSuccess', 'Failed', 'Cancelled')),
    reason          TEXT NOT NULL DEFAULT 'Queued',
    message         TEXT NOT NULL DEFAULT '',
    round           INTEGER NOT NULL DEFAULT 1,
    version         INTEGER NOT NULL DEFAULT 1,
    next_at         INTEGER,
    started_at      INTEGER,
    -- when its current round began
    round_at        INTEGER,
    finished_at     INTEGER,
    CHECK ((phase IN ('Completed', 'PartialSuccess', 'Failed', 'Cancelled')) = (finished_at IS NOT NULL))
) STRICT, WITHOUT ROWID;

CREATE INDEX run_active ON run (pipeline_uid, created_at, uid) WHERE finished_at IS NULL;
CREATE INDEX run_by_pipeline ON run (pipeline_uid, created_at, uid);
-- for which generations runs were made by themselves
CREATE INDEX run_applied ON run (pipeline_uid, generation) WHERE cause = 'Apply';
CREATE INDEX run_by_parent ON run (parent) WHERE parent IS NOT NULL;
-- a person asked for another round, and that was not seen yet
CREATE INDEX run_unsettled ON run (uid) WHERE finished_at IS NOT NULL AND retry_round >= round;

CREATE TRIGGER run_terminal_is_final BEFORE UPDATE OF phase, reason, finished_at, round ON run
WHEN NEW.round < OLD.round OR (OLD.finished_at IS NOT NULL AND NEW.round = OLD.round
    AND (NEW.phase <> OLD.phase OR NEW.reason <> OLD.reason OR NEW.finished_at IS NOT OLD.finished_at))
BEGIN
    SELECT RAISE(ABORT, 'a terminal phase never changes within a round');
END;

-- One row for each item of a step that was asked for: a task, or a run of another pipeline.
CREATE TABLE child (
    run        TEXT NOT NULL REFERENCES run (uid) ON DELETE CASCADE,
    step       TEXT NOT NULL,
    item       INTEGER NOT NULL CHECK (item >= 0),
    uid        TEXT NOT NULL UNIQUE,
    kind       TEXT NOT NULL CHECK (kind IN ('Task', 'Run')),
    -- what it stands for, for people
    label      TEXT NOT NULL DEFAULT '',
    -- the app that it works on or makes, for the steps that go on with it; empty for none
    app        TEXT NOT NULL DEFAULT '',
    -- the round of the run that asked for it last
    round      INTEGER NOT NULL,
    -- what the run made of its ending; NULL while it has not ended, or nothing was made of it yet
    conclusion TEXT CHECK (conclusion IN ('Succeeded', 'Partial', 'Failed', 'Cancelled', 'Skipped', 'AppNotProduced', 'OutputMissing')),
    ended_at   INTEGER,
    PRIMARY KEY (run, step, item),
    CHECK ((conclusion IS NULL) = (ended_at IS NULL))
) STRICT, WITHOUT ROWID;

CREATE INDEX child_concluded ON child (run, step, conclusion, round, item);
CREATE INDEX child_open ON child (run, step, item) WHERE conclusion IS NULL;

-- The apps that a selector gave when the step began; the run keeps to them.
CREATE TABLE expansion (
    run  TEXT NOT NULL REFERENCES run (uid) ON DELETE CASCADE,
    step TEXT NOT NULL,
    apps TEXT NOT NULL CHECK (json_valid(apps)),
    PRIMARY KEY (run, step)
) STRICT, WITHOUT ROWID;

-- What people decided where a run waits for them. The first decision of a round counts.
CREATE TABLE approval (
    run      TEXT NOT NULL REFERENCES run (uid) ON DELETE CASCADE,
    step     TEXT NOT NULL,
    round    INTEGER NOT NULL,
    approved INTEGER NOT NULL CHECK (approved IN (0, 1)),
    by       TEXT NOT NULL,
    comment  TEXT NOT NULL,
    at       INTEGER NOT NULL,
    PRIMARY KEY (run, step, round)
) STRICT, WITHOUT ROWID;

-- Runs and pipelines that a person has suspended.
CREATE TABLE suspension (
    uid    TEXT PRIMARY KEY,
    reason TEXT NOT NULL,
    by     TEXT NOT NULL,
    at     INTEGER NOT NULL,
    until  INTEGER
) STRICT, WITHOUT ROWID;

-- Up to which moment the slots of a pipeline's schedule have been dealt with. Another expression starts afresh.
CREATE TABLE schedule (
    pipeline_uid TEXT PRIMARY KEY REFERENCES object (uid) ON DELETE CASCADE,
    expression   TEXT NOT NULL,
    seen_at      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Tasks -------------------------------------------------------------------------------------------------------------------------------
-- the run that a task is a child of
ALTER TABLE task ADD COLUMN run TEXT;
-- what an attempt gives to later steps, as JSON: {"KEY": value}
ALTER TABLE attempt ADD COLUMN outputs TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(outputs));

-- A child that starts over, for whatever reason, has no conclusion any more.
CREATE TRIGGER child_task_again AFTER UPDATE OF round ON task
WHEN NEW.run IS NOT NULL AND NEW.round <> OLD.round
BEGIN
    UPDATE child SET conclusion = NULL, ended_at = NULL WHERE uid = NEW.uid AND conclusion IS NOT NULL;
END;
CREATE TRIGGER child_run_again AFTER UPDATE OF round ON run
WHEN NEW.parent IS NOT NULL AND NEW.round <> OLD.round
BEGIN
    UPDATE child SET conclusion = NULL, ended_at = NULL WHERE uid = NEW.uid AND conclusion IS NOT NULL;
END;
