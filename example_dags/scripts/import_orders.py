"""Import the orders of a day.

Run it by hand: CURRENCY=CHF python import_orders.py '{"day": "…", "orders": [1, 2]}'
"""

import json
import logging
import os
import signal
import sys

BAD_ARGUMENTS = 2

log = logging.getLogger("import_orders")


def stop(signum: int, frame: object) -> None:
    """Roll back before SIGKILL follows at the end of the grace period."""
    log.warning("asked to stop, rolling back")
    raise SystemExit(128 + signum)


def main() -> None:
    logging.basicConfig(level=os.environ.get("LOG_LEVEL", "INFO"), format="%(levelname)s %(message)s")
    signal.signal(signal.SIGTERM, stop)
    args = json.loads(sys.argv[1])
    if not {"day", "orders"} <= args.keys():
        log.error("args must have day and orders, not %s", sorted(args))
        raise SystemExit(BAD_ARGUMENTS)
    orders = args["orders"]
    good = [order for order in orders if order >= 0]
    for number, order in enumerate(orders):
        if order < 0:
            log.warning("order %d of %s is negative", number, args["day"])
    print(json.dumps({"sum": sum(good), "refused": len(orders) - len(good), "currency": os.environ["CURRENCY"]}))


if __name__ == "__main__":
    main()
