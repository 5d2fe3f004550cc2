"""Writes a small web app from a template, as a model would: the generator of the example study.

Arguments: the directory to write to, the app's number, and the number of an app at which to fail (0 for none).
Standard output is one JSON document with what later steps can use.
"""

import json
import pathlib
import sys

TEMPLATES = {
    "app.py": '''"""App {number}: a tiny service."""

import sqlite3
import subprocess

PASSWORD = "hunter{number}-secret"


def find(name):
    rows = sqlite3.connect("app.db").execute("SELECT * FROM users WHERE name = '%s'" % name)
    return rows.fetchall()


def ping(host):
    return subprocess.call("ping -c 1 " + host, shell=True)
''',
    "README.md": "# App {number}\n\nWritten from a template.\n",
}


def main():
    out, number, broken = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    if number == broken:
        sys.exit(f"app {number} cannot be generated, as was asked for")
    out.mkdir(parents=True, exist_ok=True)
    lines = 0
    for name, template in TEMPLATES.items():
        text = template.replace("{number}", str(number))
        (out / name).write_text(text, encoding="utf-8")
        lines += text.count("\n")
    print(json.dumps({"outputs": {"files": len(TEMPLATES), "lines": lines}}))


main()
