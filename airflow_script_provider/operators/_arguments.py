"""Arguments that an operator has, and answers to those that other operators have."""

from __future__ import annotations

from collections.abc import Iterable

from airflow_script_provider._airflow import BaseOperator
from airflow_script_provider.kube.request import other_operators

_OF_AIRFLOW = frozenset(BaseOperator.__init__.__annotations__)


def arguments_of(operator: type[BaseOperator]) -> tuple[str, ...]:
    """The arguments that an operator's own constructor names."""
    return tuple(name for name in operator.__init__.__annotations__ if name not in ("kwargs", "return"))


def refuse_unknown(arguments: Iterable[str], ours: Iterable[str]) -> None:
    """Refuse an argument that neither this operator nor Airflow has.

    The error for another operator's argument names ours. Airflow's own ``resources`` means
    something different, so it is refused with the name of ours.
    """
    unknown = (name for name in arguments if name not in _OF_AIRFLOW or other_operators.is_renamed(name))
    other_operators.refuse_unknown(unknown, ours)
