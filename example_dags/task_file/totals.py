"""Print the total of a day's orders as JSON."""

import json
import os
import sys

args = json.loads(sys.argv[1])
print("adding", len(args["orders"]), "orders of", args["day"])
print(json.dumps({"day": args["day"], "total": sum(args["orders"]), "currency": os.environ["CURRENCY"]}))
