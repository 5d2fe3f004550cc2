-- Maintenance by hand and by the clock: what is set aside, kept and purged, and what lies on the disk without a record.

-- when a person said that it is to be kept: maintenance leaves it alone from then on
ALTER TABLE app ADD COLUMN kept_at INTEGER;
ALTER TABLE task ADD COLUMN kept_at INTEGER;
-- when its attempts, events and results were deleted for good; the row stays as long as its manifest does, or it would run once more
ALTER TABLE task ADD COLUMN purged_at INTEGER;
-- the same for runs. The row of a run stays: its name, its slot and its generation must not be taken for new ones
ALTER TABLE run ADD COLUMN aside_at INTEGER;
ALTER TABLE run ADD COLUMN kept_at INTEGER;
ALTER TABLE run ADD COLUMN purged_at INTEGER;

-- What lies below results/ and belongs to no attempt. It goes the same way as everything else: it is listed first, and removed later.
CREATE TABLE stray (
    path    TEXT PRIMARY KEY,
    seen_at INTEGER NOT NULL,
    kept_at INTEGER
) STRICT, WITHOUT ROWID;

-- Directories below results/ whose attempts were purged. A line goes when its directory is gone, so that nothing is forgotten by a crash.
CREATE TABLE removal (
    path     TEXT PRIMARY KEY,
    asked_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The device that the root of an AppSet lay on when a scan of it was last believed. On another one, an unmounted disk perhaps, nothing that
-- is gone is believed to be.
CREATE TABLE source (
    uid    TEXT PRIMARY KEY REFERENCES object (uid) ON DELETE CASCADE,
    device INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A task of a run goes with its run.
DROP INDEX task_finished;
CREATE INDEX task_finished ON task (finished_at) WHERE aside_at IS NULL AND finished_at IS NOT NULL AND run IS NULL AND kept_at IS NULL;
CREATE INDEX task_aside ON task (aside_at) WHERE aside_at IS NOT NULL AND purged_at IS NULL AND run IS NULL;
CREATE INDEX task_of_run ON task (run, aside_at) WHERE run IS NOT NULL;
CREATE INDEX run_finished ON run (finished_at) WHERE parent IS NULL AND finished_at IS NOT NULL AND aside_at IS NULL AND kept_at IS NULL;
CREATE INDEX run_aside ON run (aside_at) WHERE parent IS NULL AND aside_at IS NOT NULL AND purged_at IS NULL;
CREATE INDEX app_deleted ON app (deleted_at) WHERE deleted_at IS NOT NULL;
-- results that an attempt has taken from another one: the directory is theirs together
CREATE INDEX attempt_reused ON attempt (result_dir) WHERE reason = 'Reused' AND result_dir IS NOT NULL;
