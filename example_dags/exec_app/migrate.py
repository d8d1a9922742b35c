"""Migrate the application's database to a version, and print the result as JSON."""

import json
import os
import sqlite3
import sys

from migrations import steps

target = json.loads(sys.argv[1])["target"]
with sqlite3.connect(os.environ["DATABASE"]) as database:
    version = database.execute("PRAGMA user_version").fetchone()[0]
    for number in range(version, target):
        print(f"step {number + 1}: {steps.ALL[number]}")
        database.execute(steps.ALL[number])
    database.execute(f"PRAGMA user_version = {int(target)}")
print(json.dumps({"from": version, "to": target}))
