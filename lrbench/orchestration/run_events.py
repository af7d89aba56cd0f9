"""Reports runs to the person at the terminal and to MLflow."""

from collections.abc import Sequence
from dataclasses import dataclass

from lrbench.orchestration.progress import ProgressBoard
from lrbench.results.result import Progress, TrialResult
from lrbench.spec import TrialSpec
from lrbench.tracking.publisher import Publisher


@dataclass(frozen=True)
class RunEvents:
    """Passes each event of a run to the progress board and to the publisher."""

    board: ProgressBoard
    publisher: Publisher

    def progress(self, spec: TrialSpec, progress: Progress) -> None:
        """Report the position of a run, and the new points of its curves."""
        self.board.progress(spec, progress)
        self.publisher.publish_points(spec, progress.points)

    def skip(self, steps: Sequence[int]) -> None:
        """Report that planned runs of these lengths are not needed."""
        self.board.skip(steps)

    def reuse(self, result: TrialResult) -> None:
        """Report a run that finished before this start."""
        self.publisher.publish(result)
        self.board.reuse(result)

    def finish(self, result: TrialResult) -> None:
        """Report a run that ended with a result."""
        self.publisher.publish(result)
        self.board.finish(result)

    def fail(self, spec: TrialSpec, reason: str) -> None:
        """Report a run that ended without a result."""
        self.publisher.publish_failure(spec, reason)
        self.board.fail(spec, reason)
