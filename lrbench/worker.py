"""A resident worker process (python -m lrbench.worker): requests come in and answers go out as lines of JSON."""

import json
import os
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from lrbench import loop
from lrbench.config import ConfigError, TrialSpec

Answer = Callable[..., None]


def main() -> None:
    """Do what is asked until the coordinator closes the pipe."""
    with os.fdopen(os.dup(1), "w", buffering=1) as pipe:
        os.dup2(2, 1)  # what a library prints goes to the log and not between the answers

        def answer(**message: object) -> None:
            pipe.write(json.dumps(message) + "\n")

        for line in sys.stdin:
            _serve(json.loads(line), answer)


def _serve(request: dict[str, Any], answer: Answer) -> None:
    try:
        if "examine" in request:
            specs = [TrialSpec.model_validate(spec) for spec in request["examine"]]
            answer(machine=loop.examine(specs, lambda text: answer(say=text)).model_dump())
        else:
            goes_on = partial(_ask, answer) if request["watched"] else None
            spec, checkpoint = TrialSpec.model_validate(request["train"]), Path(request["checkpoint"])
            result = loop.train_one(
                spec, lambda progress: answer(progress=vars(progress)), goes_on, checkpoint, request["checkpoint_seconds"]
            )
            answer(result=result.model_dump(by_alias=True))
    except BrokenPipeError:  # the coordinator is gone
        sys.exit(1)
    except ConfigError as error:
        answer(config_error=str(error)) if "examine" in request else answer(failure=str(error))
    except Exception as error:  # the run's failure, and not the worker's
        traceback.print_exc()
        answer(failure=f"{type(error).__name__}: {error}")


def _ask(answer: Answer, evaluation: int, accuracy: float) -> bool:
    """Return whether the coordinator lets a run go on."""
    answer(evaluated=(evaluation, accuracy))
    return bool(json.loads(sys.stdin.readline())["goes_on"])


if __name__ == "__main__":
    main()
