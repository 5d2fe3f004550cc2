"""dbos on SQLite: queues so many workflows, has them run, and prints how many it did in a second.

    dbos_peer.py {noop|command} TASKS WORKERS DIRECTORY

No-op functions are queued before the time begins, commands are not, as with every other queue of commands. Its database is in WAL mode with
`synchronous=FULL`, which is faster than the rollback journal that it would choose by itself, and as durable.
"""

import logging
import sqlite3
import subprocess
import sys
import time

from dbos import DBOS

kind, tasks, workers, directory = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
logging.disable(logging.WARNING)
database = sqlite3.connect(f"{directory}/dbos.db")
# The mode stays with the file; `synchronous` is FULL unless somebody changes it.
database.execute("PRAGMA journal_mode=WAL").fetchall()
DBOS(config={"name": "bench", "system_database_url": f"sqlite:///{directory}/dbos.db", "log_level": "ERROR"})
done = []


@DBOS.workflow()
def noop():
    done.append(True)
    return True


@DBOS.workflow()
def command():
    done.append(subprocess.run(["/bin/true"], check=True).returncode == 0)
    return True


def submit():
    work = {"noop": noop, "command": command}[kind]
    for _ in range(tasks):
        DBOS.enqueue_workflow("bench", work)


def begin():
    DBOS.register_queue("bench", worker_concurrency=workers, polling_interval_sec=0.01)


DBOS.launch()
if kind == "noop":
    submit()
    began = time.monotonic()
    begin()
else:
    begin()
    began = time.monotonic()
    submit()
# Counted here first, since asking the database all the time would take from what is measured.
while len(done) < tasks:
    time.sleep(0.002)
while database.execute("SELECT count(*) FROM workflow_status WHERE status = 'SUCCESS'").fetchone()[0] < tasks:
    time.sleep(0.002)
print(tasks / (time.monotonic() - began))
DBOS.destroy()
