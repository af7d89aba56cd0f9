"""Formulas over numbers in a config, such as `0.95 ** epoch`."""

import ast
import math
from collections.abc import Mapping

import simpleeval

MAX_LENGTH = 200
CONSTANTS = {"pi": math.pi, "e": math.e}
FUNCTIONS = {
    "abs": abs,
    "ceil": math.ceil,
    "cos": math.cos,
    "exp": math.exp,
    "floor": math.floor,
    "log": math.log,
    "max": max,
    "min": min,
    "sin": math.sin,
    "sqrt": math.sqrt,
    "tanh": math.tanh,
}
SYNTAX_HELP = "Use numbers, names, + - * / **, comparisons, if else, and functions such as cos(progress)"
SYNTAX = (
    ast.Expr,
    ast.BinOp,
    ast.UnaryOp,
    ast.BoolOp,
    ast.Compare,
    ast.IfExp,
    ast.Call,
    ast.Name,
    ast.Constant,
    ast.operator,
    ast.unaryop,
    ast.boolop,
    ast.cmpop,
    ast.expr_context,
)


class Formula:
    """A parsed formula of numbers, the given names and a fixed set of functions.

    Raises ValueError for any other text. A call raises ValueError if the formula has no finite
    value.
    """

    def __init__(self, text: str, names: Mapping[str, object] | set[str]) -> None:
        self.text = str(text)
        self._evaluator = simpleeval.SimpleEval(functions=FUNCTIONS)
        if len(self.text) > MAX_LENGTH:
            raise ValueError(f"a formula must have at most {MAX_LENGTH} characters; got {len(self.text)}")
        try:
            ast.parse(self.text.strip(), mode="eval")  # simpleeval takes the first of several statements
            self._tree = self._evaluator.parse(self.text)
        except (simpleeval.InvalidExpression, SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise ValueError(f"must be a formula; got {self.text!r} ({_first_line(error)})") from error
        _check_syntax(self._tree, self.text, set(names) | set(CONSTANTS))
        for node in ast.walk(self._tree):  # floats overflow at once, integers would grow for minutes
            if isinstance(node, ast.Constant):
                node.value = float(node.value)  # type: ignore[arg-type]  # _check_syntax has refused all else

    def __call__(self, values: Mapping[str, float]) -> float:
        """Return the finite value for `values`, a number for each name."""
        self._evaluator.names = {**CONSTANTS, **values}
        try:
            value = self._evaluator.eval(self.text, previously_parsed=self._tree)
        except (simpleeval.InvalidExpression, ArithmeticError, ValueError, TypeError, RecursionError) as error:
            raise ValueError(
                f"the formula {self.text!r} has no value at {_names_and_values(values)}: {_first_line(error)}"
            ) from error
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(
                f"the formula {self.text!r} must be a finite number; got {value!r} at {_names_and_values(values)}"
            )
        return float(value)


def _check_syntax(tree: ast.AST, text: str, names: set[str]) -> None:
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if not isinstance(node, SYNTAX) or not _is_number_if_constant(node) or getattr(node, "keywords", None):
            raise ValueError(f"must be a formula of numbers; got {text!r}. {SYNTAX_HELP}")
        if isinstance(node, ast.Call) and not isinstance(node.func, ast.Name):
            raise ValueError(f"must be a formula of numbers; got {text!r}. {SYNTAX_HELP}")
        if isinstance(node, ast.Name):
            allowed = set(FUNCTIONS) if id(node) in called else names
            if node.id not in allowed:
                raise ValueError(
                    f"unknown name {node.id!r} in the formula {text!r}. Allowed: {', '.join(sorted(allowed))}"
                )


def _is_number_if_constant(node: ast.AST) -> bool:
    if not isinstance(node, ast.Constant):
        return True
    value = node.value
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def _first_line(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return error.msg
    return (str(error) or type(error).__name__).splitlines()[0]


def _names_and_values(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name}={value:g}" for name, value in values.items())
