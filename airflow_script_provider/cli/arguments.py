"""The options of the command line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

from airflow_script_provider import __version__
from airflow_script_provider.spec.choice import EXECUTORS, READ_BY

PROGRAM = "airflow-script"
OUTPUTS = ("text", "json")

_EPILOG = (
    "The exit code is the script's; 124 after --timeout, 125 if the script could not be run, 130 after Ctrl+C, 2 for "
    "a wrong command line. Words after -- are the script's arguments."
)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Print one line, not the whole usage."""
        self.exit(2, f"{PROGRAM}: {message} ({self.prog} --help)\n")


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line; ``arguments`` are the words after ``--``, None without ``--``."""
    own, rest = _split(argv)
    options = _parser().parse_args(own)
    options.arguments = rest
    return options


def executor_options(options: argparse.Namespace) -> list[str]:
    """The options on this command line that only some executors read."""
    names = {option: option.removeprefix("--").replace("-", "_") for option in READ_BY}
    return [option for option, name in names.items() if getattr(options, name, None)]


def _split(argv: Sequence[str]) -> tuple[list[str], list[str] | None]:
    if "--" not in argv:
        return list(argv), None
    position = list(argv).index("--")
    return list(argv[:position]), list(argv[position + 1 :])


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog=PROGRAM, description="Run a script where it belongs.", formatter_class=_formatter)
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    # Without prog, argparse would load the formatter to find the name.
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", prog=PROGRAM)
    run = commands.add_parser("run", help="run a script", epilog=_EPILOG, formatter_class=_formatter)
    _add_script_options(run)
    _add_executor_options(run)
    _add_run_options(run)
    render = commands.add_parser(
        "render", help="print the Kubernetes objects that -x job would create", formatter_class=_formatter
    )
    _add_script_options(render)
    _add_cluster_options(render)
    render.add_argument("--timeout", type=_seconds, metavar="S", help="seconds that the script may work")
    return parser


def _add_script_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("script", nargs="?", metavar="SCRIPT", help="file, URI, text, - for stdin, or a task's name")
    what = parser.add_argument_group("what runs")
    what.add_argument("-f", "--file", help="task file or step of the Script tool (default: airflow-script.yaml)")
    what.add_argument("--flavor", help="flavor of the task file")
    given = what.add_mutually_exclusive_group()
    given.add_argument("--args", metavar="JSON", help="the script's argv[1]")
    given.add_argument("--arg", action="append", metavar="K=V", help="one entry of it, as text; repeatable")
    what.add_argument("-e", "--env", action="append", metavar="K[=V]", help="environment variable; repeatable")
    what.add_argument("--env-file", action="append", metavar="F", help="file of K=V lines; repeatable")
    what.add_argument("--interpreter", metavar="ARGV", help="such as 'bash -eu' (default: by shebang, name, image)")
    what.add_argument("--script-conn-id", metavar="ID", help="Airflow connection that a URI is read with")


def _add_executor_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-x", "--executor", choices=EXECUTORS, help="where the script runs (default: the first available one)"
    )
    where = _add_cluster_options(parser)
    where.add_argument("--deployment", metavar="D", help="kubernetes: run in a pod of this Deployment")
    where.add_argument(
        "-c", "--container", metavar="C", help="kubernetes: container of the pod; container: name of a running one"
    )
    where.add_argument("-w", "--workdir", metavar="DIR", help="directory the script starts in; not for job")


def _add_cluster_options(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    where = parser.add_argument_group("where")
    where.add_argument("-n", "--namespace", help="default: K8S_NAMESPACE, the file's, the kubeconfig's")
    where.add_argument("--context", metavar="CTX", help="context of the kubeconfig")
    where.add_argument("--conn-id", metavar="ID", help="Airflow connection to the cluster (default: the kubeconfig)")
    where.add_argument("--image", metavar="I", help="job, container: image of a new container")
    return where


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    how = parser.add_argument_group("how")
    how.add_argument("--timeout", type=_seconds, metavar="S", help="seconds until the script is ended (a Job: 600)")
    how.add_argument("-i", "--interactive", action="store_true", help="pass stdin on to the script")
    how.add_argument("-t", "--tty", action="store_true", help="give the script a terminal")
    how.add_argument("--log-file", metavar="F", help="also write the output to this file")
    how.add_argument("--output", choices=OUTPUTS, default="text", help="json: the result to stdout, output to stderr")
    how.add_argument("-v", "--verbose", action="store_true", help="show each step, also in a pipe")


def _formatter(prog: str) -> argparse.HelpFormatter:
    """The help's formatter. It is loaded for help only, because loading takes long."""
    try:
        from rich_argparse import RichHelpFormatter
    except ImportError:
        return argparse.HelpFormatter(prog)
    return RichHelpFormatter(prog)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds") from None
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a finite number above 0")
    return seconds
