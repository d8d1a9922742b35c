"""Print the totals of a day by source as JSON. Also works with NoETL's Script tool."""

import json
import os
import sys

args = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
totals = {}
for source in args.get("sources", []):
    print("reading", source["name"])
    totals[source["name"]] = sum(source["orders"])
print(json.dumps({"day": args.get("day"), "totals": totals, "currency": os.environ["CURRENCY"]}))
