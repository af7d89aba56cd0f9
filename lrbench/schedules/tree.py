"""The schedulers of a run as a tree: the scheduler of the config and the members inside it."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lrbench.config.lengths import part_bounds
from lrbench.schedules.torch_scheduler import scheduler_steps
from lrbench.spec import TrialSpec

COMPOSITES = ("SequentialLR", "ChainedScheduler")


@dataclass(frozen=True)
class Node:
    """A scheduler of the config, or a member of one."""

    key: str
    kind: str  # the name of its class or function
    args: Mapping[str, Any]
    knobs: Mapping[str, Any]
    steps: int  # how many it takes in its part of the run
    position: int = 0  # in the composite around it
    around: str = ""  # the kind of the composite around it

    def with_members(self) -> Iterator["Node"]:
        """Yield this scheduler and all schedulers inside it."""
        yield self
        for position, (key, config, steps) in enumerate(self._members()):
            args, knobs = config.get("args") or {}, config.get("knobs") or {}
            key = f"{self.key}.args.{key}"
            member = Node(key, _kind(config["_target_"]), args, knobs, steps, position, self.kind)
            yield from member.with_members()

    def _members(self) -> Iterator[tuple[str, Mapping[str, Any], int]]:
        """Yield the key, the config and the steps of each member."""
        if self.kind in COMPOSITES:
            yield from self._torch_members()
        elif self.kind == "sequence":
            bounds = part_bounds([part["fraction"] for part in self.args["parts"].values()], self.steps)
            for (name, part), (begin, end) in zip(self.args["parts"].items(), itertools.pairwise(bounds), strict=True):
                yield f"parts.{name}.scheduler", part["scheduler"], end - begin
        elif self.kind == "product":
            for name, config in self.args["factors"].items():
                yield f"factors.{name}", config, self.steps

    def _torch_members(self) -> Iterator[tuple[str, Mapping[str, Any], int]]:
        edges = [0, *self.args.get("milestones", []), self.steps]
        for number, config in enumerate(self.args.get("schedulers", [])):
            begin, end = edges[number : number + 2] if self.kind == "SequentialLR" else (0, self.steps)
            yield f"schedulers[{number}]", config, min(end, self.steps) - min(begin, self.steps)


def top_node(spec: TrialSpec) -> Node:
    """Return the scheduler of the run, without its members."""
    scheduler = spec.scheduler
    return Node("scheduler", _kind(scheduler.target), scheduler.args, scheduler.knobs, scheduler_steps(spec))


def all_nodes(spec: TrialSpec) -> Iterator[Node]:
    """Yield the scheduler of the run and all schedulers inside it."""
    return top_node(spec).with_members()


def _kind(target: object) -> str:
    return str(target).rpartition(".")[2]


def numbers_of(values: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers among some arguments or knobs."""
    return {
        name: value for name, value in values.items() if isinstance(value, int | float) and not isinstance(value, bool)
    }


def number_of(node: Node, name: str) -> float | None:
    """Return an argument of a scheduler, None if it is absent or no number."""
    return numbers_of(node.args).get(name)
