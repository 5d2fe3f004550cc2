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

UPDATE task SET since = coalesce(finished_at, started_at, created_at);

-- Attempts ----------------------------------------------------------------------------------------------------------------------------
ALTER TABLE attempt ADD COLUMN pool TEXT;
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
