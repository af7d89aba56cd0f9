"""A worker process: `python -m lrbench.executors.worker DATA_ROOT`.

Requests and answers are lines of JSON. Each request is a preflight or a run.
"""

import gc
import json
import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from lrbench.results.result import ShouldContinue
from lrbench.spec import ConfigError, TrialSpec
from lrbench.training.preflight import preflight
from lrbench.training.run_cache import RunCache
from lrbench.training.train import train_one

Answer = Callable[..., None]
Requests = queue.SimpleQueue[dict[str, Any]]


def main() -> None:
    """Serve requests until the coordinator closes the pipe or ends."""
    requests, run_cache = Requests(), RunCache(Path(sys.argv[1]))
    with os.fdopen(os.dup(1), "w", buffering=1) as pipe:
        os.dup2(2, 1)  # the output of libraries goes to the log, not between the answers

        def answer(**message: object) -> None:
            try:
                pipe.write(json.dumps(message) + "\n")
            except BrokenPipeError:
                os._exit(1)

        threading.Thread(target=_read, args=(requests,), daemon=True).start()
        while True:
            request = requests.get()
            if "preflight" in request:
                succeeded = _preflight(request, answer, run_cache)
            else:
                succeeded = _train(request, answer, requests, run_cache)
            if not succeeded:
                _free_memory(run_cache)


def _read(requests: Requests) -> None:
    """Queue the requests. End the process when the coordinator ends.

    It ends at once, because the next coordinator may train the same run already.
    """
    for line in sys.stdin:
        if line.endswith("\n"):  # a killed coordinator may leave half of its last line
            requests.put(json.loads(line))
    os._exit(0)


def _preflight(request: dict[str, Any], answer: Answer, run_cache: RunCache) -> bool:
    """Answer with the device. Return True if that succeeds."""
    try:
        specs = [TrialSpec.model_validate(spec) for spec in request["preflight"]]
        answer(device=preflight(specs, run_cache, lambda text: answer(log=text)).model_dump())
        return True
    except ConfigError as error:
        answer(config_error=str(error))
    except Exception as error:  # the coordinator reports it
        _answer_failure(error, answer)
    return False


def _train(request: dict[str, Any], answer: Answer, requests: Requests, run_cache: RunCache) -> bool:
    """Train a run and answer with its result. Return True if that succeeds."""

    def should_continue(evaluation: int, accuracy: float) -> bool:
        answer(evaluated=(evaluation, accuracy))
        return bool(requests.get()["continue"])

    monitor: ShouldContinue | None = should_continue if request["monitored"] else None
    try:
        spec = TrialSpec.model_validate(request["train"])
        run_cache.compilation_pays = request["compilation_pays"]
        result = train_one(
            spec,
            lambda progress: answer(progress=progress.as_json()),
            monitor,
            checkpoint=Path(request["checkpoint"]),
            checkpoint_seconds=request["checkpoint_seconds"],
            run_cache=run_cache,
        )
        answer(result=result.model_dump(by_alias=True))
        return True
    except ConfigError as error:
        answer(failure=str(error))
    except Exception as error:  # the failure of this run must not end the worker
        _answer_failure(error, answer)
    return False


def _answer_failure(error: Exception, answer: Answer) -> None:
    traceback.print_exc()
    if isinstance(error, torch.AcceleratorError):
        os._exit(1)  # after an error on the GPU, only a new process can use it
    answer(failure=f"{type(error).__name__}: {error}")


def _free_memory(run_cache: RunCache) -> None:
    """Free the memory of a failed run, so that the next run has all of it."""
    run_cache.drop_steps()
    gc.collect()
    torch.cuda.empty_cache()  # does nothing if CUDA is not in use


if __name__ == "__main__":
    main()
