"""Spans of MLflow for callers that trace with it. Nothing here imports MLflow: where the program has not, there is nobody to trace for, and a
span costs a look into `sys.modules`. `mlflow.tracing.disable()` switches them off.

What holds: what was kept or found is never in a span, only its keys; what was looked for is, since the caller's own trace has it anyway.
"""

from __future__ import annotations

import contextlib
import sys
from typing import Any, ContextManager, Protocol


class _Span(Protocol):
    def set_outputs(self, outputs: Any) -> None: ...


class _Nobody:
    def set_outputs(self, outputs: Any) -> None:
        pass


_NOBODY = contextlib.nullcontext(_Nobody())


@contextlib.contextmanager
def _of_mlflow(start: Any, name: str, kind: str, inputs: dict[str, Any]) -> Any:
    with start(name=name, span_type=kind) as s:
        s.set_inputs(inputs)
        yield s


def span(name: str, kind: str, **inputs: Any) -> ContextManager[_Span]:
    """A span of the caller's trace, or the root of one; of `mlflow` as well as of the lighter `mlflow-tracing`, which has the same name."""
    start = getattr(sys.modules.get("mlflow"), "start_span", None)
    return _NOBODY if start is None else _of_mlflow(start, name, kind, inputs)
