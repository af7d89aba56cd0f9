"""Trains the runs of all schedulers of a sweep on an executor."""

from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from functools import partial
from pathlib import Path

from lrbench.executors.executor import Executor, RunError
from lrbench.orchestration.pipeline import SearchPipeline
from lrbench.orchestration.run_events import RunEvents
from lrbench.orchestration.time_budget import TimeBudget
from lrbench.results.files import write_result
from lrbench.results.result import TrialResult
from lrbench.spec import TrialSpec


def train_all(
    pipelines: Sequence[SearchPipeline],
    executor: Executor,
    finished: Mapping[str, TrialResult],
    trials: Path,
    events: RunEvents,
    budget: TimeBudget | None = None,
) -> int:
    """Train the runs whose keys are not in `finished`, and return the number of failed runs.

    The results go into the folder `trials`. There is no barrier between search and final runs, or
    between schedulers: a run waits only for the trials whose scores its sampler must know. With a
    time budget, the next round of trials or final runs begins when a worker has nothing to do.
    """
    running: dict[Future[TrialResult], tuple[SearchPipeline, TrialSpec]] = {}
    to_ask, failures = deque(pipelines), 0
    while to_ask or running:
        while to_ask:
            pipeline = to_ask.popleft()
            specs, skipped_steps = pipeline.ready()
            events.skip(skipped_steps)
            for spec in specs:
                if result := finished.get(spec.key()):
                    pipeline.record_result(spec, result)
                    events.reuse(result)
                    to_ask.append(pipeline)
                else:
                    future = executor.submit(spec, events.progress, partial(pipeline.pruning_monitor, spec))
                    running[future] = pipeline, spec
        if budget and len(running) < budget.concurrency:
            was_searching = not budget.allowance.search_is_over
            is_used = all(pipeline.has_used_allowance for pipeline in pipelines)
            if is_used and budget.extend(len(running)):
                if was_searching and budget.allowance.search_is_over:
                    events.skip(budget.skipped_search_steps())
                to_ask.extend(pipelines)
                continue
            if not running:
                break
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            pipeline, spec = running.pop(future)
            try:
                result = future.result()
            except RunError as failure:
                failures += 1
                pipeline.record_result(spec, None)
                events.fail(spec, str(failure))
            else:
                write_result(trials, result)  # before anything reports it
                pipeline.record_result(spec, result)
                events.finish(result)
                if budget:
                    budget.add(result)
            to_ask.append(pipeline)
    return failures
