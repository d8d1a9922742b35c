"""The table of faults: each call of a launch, a follow, an exec and a run on nodes meets each kind of fault.

``python -m tests.fault_table`` prints it. A column is a run: in it every call meets the kind of its row once,
at its first time, and the kinds move on by one from run to run. So as many runs as there are kinds meet all pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import cycle

from tests.faulty_api import Fault
from tests.patience import LONG

LOGIN_PAGE = Fault(status=200, body="<html>\n<body>Sign in</body>\n</html>\n", content_type="text/html")
KINDS: Mapping[str, Fault] = {
    "401": Fault(status=401, reason="Unauthorized"),
    "429, seconds": Fault(status=429, retry_after=1),
    "429, date": Fault(status=429, retry_after=1, as_date=True),
    "500": Fault(status=500, reason="InternalError"),
    "503": Fault(status=503),
    "504": Fault(status=504, reason="Timeout"),
    "reset": Fault(reset=True),
    "lost": Fault(lost=True),
    "stall": Fault(late=1.0),
    "black hole": Fault(delay=LONG),
    "cut by bytes": Fault(cut_after=30),
    "cut by time": Fault(cut=0.3),
    "HTML page": LOGIN_PAGE,
}
"""What a network, a proxy or an overloaded server does to one request. All of it passes."""

_JOBS, _PODS = r".*/jobs\?", r".*/pods\?"
_WATCH, _LIST = r".*watch=1", r"(?!.*watch=1)"
OF_JOBS: Mapping[str, str] = {
    "create the Job": rf"^POST {_JOBS}",
    "create the Secret": r"^POST .*/secrets\?",
    "create the ConfigMap": r"^POST .*/configmaps\?",
    "list the Job": rf"^GET {_JOBS}{_LIST}",
    "watch the Job": rf"^GET {_JOBS}{_WATCH}",
    "list its pods": rf"^GET {_PODS}{_LIST}",
    "watch its pods": rf"^GET {_PODS}{_WATCH}",
    "read the log": r"^GET .*/log\?",
    "read the Job": r"^GET .*/jobs/",
    "list events": rf"^GET .*/events\?{_LIST}",
    "watch events": rf"^GET .*/events\?{_WATCH}",
    "mark the Job": r"^PATCH .*/jobs/",
    "delete the Secret": r"^DELETE .*/(secrets|configmaps)/",
}
OF_NODES: Mapping[str, str] = {
    "ask for rights": r"^POST .*/selfsubjectaccessreviews",
    **OF_JOBS,
    "list nodes": r"^GET .*/nodes\?",
}
OF_EXECS: Mapping[str, str] = {
    "read the Deployment": r"^GET .*/deployments/",
    "list ReplicaSets": r"^GET .*/replicasets\?",
    "list pods": rf"^GET {_PODS}",
    "read the pod": r"^GET .*/pods/[^/]+$",
    "connect": r"^GET .*/exec(\?|$)",
}
REFUSALS: Mapping[str, Fault] = {
    "403": Fault(status=403, reason="Forbidden", message="refused for good"),
    "404": Fault(status=404, reason="NotFound", message="refused for good"),
    "410": Fault(status=410, reason="Expired", message="refused for good"),
    "422": Fault(status=422, reason="Invalid", message="refused for good"),
}
"""What does not pass, however often it is asked."""
_ALWAYS, _BUT_GONE = frozenset(REFUSALS), frozenset(REFUSALS) - {"410"}
_OF_A_LAUNCH = dict.fromkeys(("create the Job", "create the Secret", "create the ConfigMap"), _ALWAYS)
ENDS: Mapping[str, Mapping[str, frozenset[str]]] = {
    "job": {
        **_OF_A_LAUNCH,
        **dict.fromkeys(("watch the Job", "watch its pods"), _BUT_GONE),
        **dict.fromkeys(("list the Job", "list its pods"), frozenset[str]()),
    },
    "nodes": {
        **_OF_A_LAUNCH,
        **dict.fromkeys(("list the Job", "read the Job", "list nodes"), _ALWAYS),
        **dict.fromkeys(("list its pods", "watch its pods"), frozenset[str]()),
    },
    "exec": dict.fromkeys(OF_EXECS, _ALWAYS),
}
"""The calls of which these refusals end the run. After the others the run goes on: 410 says that a position in the
changes is too old, and events, marks and logs are not the verdict. Lists are not refused together with them: it depends
on the moment whether one is asked for. Pods of nodes are not in this table: their refusal is doubted for longer
than a test may take."""
CALLS: Mapping[str, Mapping[str, str]] = {"job": OF_JOBS, "nodes": OF_NODES, "exec": OF_EXECS}


@dataclass(frozen=True)
class Column:
    """A run: what is run, how it is waited for, and the kind or the refusal that each call meets."""

    subject: str
    is_deferred: bool
    kinds: Mapping[str, str]

    def __str__(self) -> str:
        where = "trigger" if self.is_deferred else "worker"
        call, kind = next(iter(self.kinds.items()))
        return f"{self.subject}-{where}-{call if len(self.kinds) == 1 else 'calls'}-{kind}".replace(" ", "_")


def refusals() -> Iterator[Column]:
    """Runs that meet what does not pass.

    Each call that ends a run is refused in one of the ways; the others are refused together, in each way.
    """
    names = list(REFUSALS)
    for subject, calls in CALLS.items():
        for number, name in enumerate(names):
            if others := {call: name for call in calls if call not in ENDS[subject]}:
                yield Column(subject, number % 2 == 1, others)
        for number, call in enumerate(call for call in calls if ENDS[subject].get(call)):
            ways = [name for name in names if name in ENDS[subject][call]]
            yield Column(subject, subject == "job" and number % 2 == 1, {call: ways[number % len(ways)]})


def columns() -> Iterator[Column]:
    """The runs: as many of each subject as there are kinds, in turn in a worker and in a trigger."""
    names = list(KINDS)
    for subject, calls in CALLS.items():
        for number, is_deferred in zip(range(len(names)), cycle([False, True]), strict=False):
            kinds = {call: names[(number + row) % len(names)] for row, call in enumerate(calls)}
            yield Column(subject, is_deferred and subject != "exec", kinds)


def table() -> str:
    """The table as text."""
    lines = []
    for subject, calls in CALLS.items():
        runs = [column for column in columns() if column.subject == subject]
        waiting = ["trigger" if run.is_deferred else "worker" for run in runs]
        rows = [(call, *(run.kinds[call] for run in runs)) for call in calls]
        lines += [_line((subject, *waiting)), *(_line(row) for row in rows), ""]
    return "\n".join(lines)


def _line(cells: tuple[str, ...]) -> str:
    return f"{cells[0]:21}" + "".join(f"{cell:14}" for cell in cells[1:]).rstrip()


if __name__ == "__main__":
    print(table())
