"""huey on SQLite: queues so many tasks, has a consumer run them, and prints how many it did in a second.

    huey_peer.py {noop|command} TASKS WORKERS DIRECTORY

No-op functions are queued before the time begins, commands are not, as with every other queue of commands. Each write is synced (`fsync=True`), and
each result is stored, which is how huey remembers that a task has ended. Its workers are threads: processes were no faster on two cores.
"""

import subprocess
import sys
import time

from huey import SqliteHuey

kind, tasks, workers, directory = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
huey = SqliteHuey("bench", filename=f"{directory}/huey.db", fsync=True)
done = []


@huey.task()
def noop():
    done.append(True)
    return True


@huey.task()
def command():
    done.append(subprocess.run(["/bin/true"], check=True).returncode == 0)
    return True


def submit():
    work = {"noop": noop, "command": command}[kind]
    for _ in range(tasks):
        work()


consumer = huey.create_consumer(workers=workers, initial_delay=0.001, backoff=1.0, max_delay=0.001, periodic=False)
if kind == "noop":
    submit()
began = time.monotonic()
consumer.start()
if kind == "command":
    submit()
# Counted here first, since asking the database all the time would take from what is measured.
while len(done) < tasks:
    time.sleep(0.002)
while huey.result_count() < tasks:
    time.sleep(0.002)
print(tasks / (time.monotonic() - began))
consumer.stop(graceful=True)
