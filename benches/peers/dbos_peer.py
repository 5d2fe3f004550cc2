"""dbos on SQLite: queues so many workflows, has them run, and prints how many it did in a second.

    dbos_peer.py {noop|command} TASKS WORKERS DIRECTORY

The time begins with the first submission, also for no-op functions: it runs them as soon as they are there.
"""

import logging
import subprocess
import sys
import time

from dbos import DBOS

kind, tasks, workers, directory = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
logging.disable(logging.WARNING)
DBOS(config={"name": "bench", "system_database_url": f"sqlite:///{directory}/dbos.db", "log_level": "ERROR"})


@DBOS.workflow()
def noop():
    return True


@DBOS.workflow()
def command():
    return subprocess.run(["/bin/true"], check=True).returncode == 0


DBOS.launch()
DBOS.register_queue("bench", worker_concurrency=workers, polling_interval_sec=0.01)
work = {"noop": noop, "command": command}[kind]
began = time.monotonic()
handles = [DBOS.enqueue_workflow("bench", work) for _ in range(tasks)]
for handle in handles:
    assert handle.get_result() is True
print(tasks / (time.monotonic() - began))
DBOS.destroy()
