-- Less work for each new task. Whoever writes one gives it its turn: a trigger that had nothing to do made SQLite keep a copy of every page that the
-- statement touched. And the index says its reasons one by one: of a list of three SQLite makes a table, each time that it asks whether a row belongs there.

DROP TRIGGER task_queued_new;

DROP INDEX task_waiting;
CREATE INDEX task_waiting ON task (analyzer, reason)
    WHERE phase = 'Pending' AND (reason = 'AnalyzerUnavailable' OR reason = 'BackOff' OR reason = 'BreakerOpen');
