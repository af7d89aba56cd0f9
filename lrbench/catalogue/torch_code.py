"""A scheduler as torch code, which a reader can copy into another program."""

import ast
import inspect
import json
from collections.abc import Mapping, Sequence
from typing import Any

from lrbench.config.targets import locate
from lrbench.schedules.table import own_optimizer
from lrbench.schedules.torch_scheduler import FORMULA_ARGUMENTS
from lrbench.spec import TrialSpec

MAX_WIDTH = 100  # characters of a line


def torch_code(spec: TrialSpec) -> str:
    """Return the code that makes the scheduler of `spec`, or an empty text if torch cannot."""
    target, steps = spec.scheduler.target, spec.train.total_steps
    if target.startswith("torch."):
        return "scheduler = " + _scheduler_call({"_target_": target, "args": spec.scheduler.args}, spec)
    if target.startswith("lrbench.factors.") and not own_optimizer(target):
        args = [f"{name}={_literal(value)}" for name, value in spec.scheduler.args.items()]
        factor = _call(f"factors.{target.rpartition('.')[2]}", [f"np.arange({steps})", str(steps), *args])
        function = f"lambda step: factor[min(step, {steps - 1})]"
        return f"factor = {factor}\nscheduler = lr_scheduler.LambdaLR(optimizer, {function})"
    return ""


def _scheduler_call(node: Mapping[str, Any], spec: TrialSpec) -> str:
    """Return the call of a scheduler class, without arguments that equal torch's defaults."""
    target = locate(node["_target_"])
    parameters = inspect.signature(target).parameters
    args = {
        name: value for name, value in node["args"].items() if value is not None and value != parameters[name].default
    }
    members = [_indented(_scheduler_call(member, spec)) for member in args.pop("schedulers", [])]
    texts = [
        f"{name}={_formula(value, spec) if name in FORMULA_ARGUMENTS else _literal(value)}"
        for name, value in args.items()
    ]
    first = ["optimizer"]
    if members:
        first = ["optimizer=optimizer", f"schedulers=[\n{''.join(members)}]"]
    return _call(f"lr_scheduler.{target.__name__}", [*first, *texts])


def _call(function: str, args: Sequence[str]) -> str:
    """Return a call on one line, or with a line per argument if that is too long."""
    line = f"{function}({', '.join(args)})"
    if len(line) <= MAX_WIDTH and "\n" not in line:
        return line
    return f"{function}(\n{''.join(map(_indented, args))})"


def _indented(text: str) -> str:
    return "    " + text.replace("\n", "\n    ") + ",\n"


def _literal(value: object) -> str:
    return json.dumps(value) if isinstance(value, str) else repr(value)


def _formula(text: str, spec: TrialSpec) -> str:
    """Return a formula of the config as a lambda."""
    steps = f"{spec.train.total_steps}"
    names = {
        "progress": f"step / {steps}",
        "epoch": f"step / {spec.train.steps_per_epoch}",
        "total_steps": steps,
        "scheduler_steps": steps,
    }
    names |= {name: repr(value) for name, value in spec.scheduler.knobs.items()}

    class Replace(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> ast.AST:  # the name that ast calls
            return ast.parse(names[node.id], mode="eval").body if node.id in names else node

    return f"lambda step: {ast.unparse(Replace().visit(ast.parse(text, mode='eval')))}"
