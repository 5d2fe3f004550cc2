-- Records that tell what was meant when they were written, so that nothing is worked out anew later.

-- Children of runs ------------------------------------------------------------------------------------------------------------------------
-- The app that a child makes, as it was worked out when it was asked for: name, spec, labels and run, as JSON. NULL: it makes none, or it was
-- asked for before this was recorded.
ALTER TABLE child ADD COLUMN makes TEXT CHECK (makes IS NULL OR json_valid(makes));
