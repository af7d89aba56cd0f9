"""A resident worker process (python -m lrbench.worker): reads specs as lines of JSON, writes progress and results as lines of JSON."""

import json
import os
import sys
import traceback
from typing import TextIO

from lrbench.config import TrialSpec
from lrbench.loop import Progress, train_one


def main() -> None:
    """Train what comes in until the coordinator closes the pipe."""
    with os.fdopen(os.dup(1), "w", buffering=1) as answers:
        os.dup2(2, 1)  # what a library prints goes to the log and not between the answers
        for line in sys.stdin:
            answers.write(_answer(line, answers) + "\n")


def _answer(line: str, answers: TextIO) -> str:
    def tell(progress: Progress) -> None:
        answers.write(json.dumps({"progress": vars(progress)}) + "\n")

    try:
        return train_one(TrialSpec.model_validate_json(line), tell).model_dump_json(by_alias=True)
    except BrokenPipeError:  # the coordinator is gone
        sys.exit(1)
    except Exception as error:  # the run's failure, and not the worker's
        traceback.print_exc()
        return json.dumps({"failure": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    main()
