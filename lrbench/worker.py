"""A resident worker process (python -m lrbench.worker): requests come in and answers go out as lines of JSON."""

import gc
import json
import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lrbench import examination, loop
from lrbench.spec import ConfigError, TrialSpec

Answer = Callable[..., None]
Requests = queue.SimpleQueue[dict[str, Any]]


def main() -> None:
    """Do what is asked until the coordinator closes the pipe, or is gone."""
    requests: Requests = queue.SimpleQueue()
    with os.fdopen(os.dup(1), "w", buffering=1) as pipe:
        os.dup2(2, 1)  # what a library prints goes to the log and not between the answers

        def answer(**message: object) -> None:
            try:
                pipe.write(json.dumps(message) + "\n")
            except BrokenPipeError:
                os._exit(1)

        threading.Thread(target=_read, args=(requests,), daemon=True).start()
        while True:
            if not _serve(requests.get(), answer, requests):
                _free()


def _read(requests: Requests) -> None:
    """Take in requests. Where the coordinator is gone, end the process at once: its successor may be at the same run already."""
    for line in sys.stdin:
        requests.put(json.loads(line))
    os._exit(0)


def _serve(request: dict[str, Any], answer: Answer, requests: Requests) -> bool:
    """Answer a request, and return whether that went well."""
    try:
        if "examine" in request:
            specs = [TrialSpec.model_validate(spec) for spec in request["examine"]]
            answer(machine=examination.examine(specs, lambda text: answer(say=text)).model_dump())
        else:
            goes_on = partial(_ask, answer, requests) if request["watched"] else None
            spec, checkpoint = TrialSpec.model_validate(request["train"]), Path(request["checkpoint"])
            result = loop.train_one(
                spec, lambda progress: answer(progress=vars(progress)), goes_on, checkpoint, request["checkpoint_seconds"]
            )
            answer(result=result.model_dump(by_alias=True))
        return True
    except ConfigError as error:
        answer(config_error=str(error)) if "examine" in request else answer(failure=str(error))
    except Exception as error:  # the run's failure, and not the worker's
        traceback.print_exc()
        if isinstance(error, torch.AcceleratorError):
            os._exit(1)  # after an error on the GPU, this process gets no more out of it; another one may
        answer(failure=f"{type(error).__name__}: {error}")
    return False


def _free() -> None:
    """Give memory back that a run which failed has left, so that the next one has all of it."""
    gc.collect()
    torch.cuda.empty_cache()  # nothing, where CUDA is not in use


def _ask(answer: Answer, requests: Requests, evaluation: int, accuracy: float) -> bool:
    """Return whether the coordinator lets a run go on."""
    answer(evaluated=(evaluation, accuracy))
    return bool(requests.get()["goes_on"])


if __name__ == "__main__":
    main()
