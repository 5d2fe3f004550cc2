"""dbos on SQLite: queues so many workflows, has them run, and prints how many it did in a second.

    dbos_peer.py {noop|command} TASKS WORKERS DIRECTORY

No-op functions are queued before the time begins, commands are not, as with every other queue of commands.
"""

import logging
import subprocess
import sys
import time

from dbos import DBOS, Queue

kind, tasks, workers, directory = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
logging.disable(logging.WARNING)
DBOS(config={"name": "bench", "system_database_url": f"sqlite:///{directory}/dbos.db", "log_level": "ERROR"})
queue = Queue("bench", worker_concurrency=workers, polling_interval_sec=0.01)


@DBOS.workflow()
def noop():
    return True


@DBOS.workflow()
def command():
    return subprocess.run(["/bin/true"], check=True).returncode == 0


DBOS.launch()
work = {"noop": noop, "command": command}[kind]
began = time.monotonic()
handles = [queue.enqueue(work) for _ in range(tasks)]
for handle in handles:
    assert handle.get_result() is True
print(tasks / (time.monotonic() - began))
DBOS.destroy()
