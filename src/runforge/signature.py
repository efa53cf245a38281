"""The keywords of a class's constructor, read from its source text.

Reading instead of importing keeps the check of a configuration fast: networks and tasks import
torch, and a mistake is to be told before that.
"""

from __future__ import annotations

import ast
import importlib.util
import typing
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import annotated_types
from pydantic import ConfigDict, create_model
from pydantic.main import BaseModel

from runforge.errors import ConfigError
from runforge.targets import TARGET, split_target

NAMES: dict[str, Any] = {
    **{name: getattr(annotated_types, name) for name in ("Ge", "Gt", "Le", "Lt", "MinLen")},
    **{name: getattr(typing, name) for name in ("Annotated", "Any", "Literal")},
    **{kind.__name__: kind for kind in (bool, dict, float, int, list, str)},
    # YAML has lists only; one that stands for a sequence of any kind is taken as such.
    "Sequence": list,
    "Mapping": dict,
    "tuple": list,
}

KNOWN = {
    "network": ("input_shape", "output_count"),
    "task": ("schema",),
    "optimizer": ("params",),
    "loss": ("reduction",),
}
"""Keywords that only the run knows, by the key of the node: never keys of the configuration."""

RENAMED = {"lr": "learning_rate"}
"""Keywords of torch that carry another name in `conf/`."""


def source_file(module: str) -> Path | None:
    """The file of a module, found without importing it or its parents but the first."""
    first, *rest = module.split(".")
    spec = importlib.util.find_spec(first)
    if spec is None or spec.origin is None:
        return None
    base = Path(spec.origin).parent.joinpath(*rest)
    return next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()), None)


@cache
def keyword_model(target: str, known: Sequence[str]) -> type[BaseModel] | None:
    """A model of the keywords that a configuration gives to `target`, those `known` left out.

    None where the module or the class can't be found. Where an annotation is not made of plain
    types, any value is taken.
    """
    module, name = split_target(target)
    path = source_file(module)
    arguments = _constructor(path, name) if path else None
    if arguments is None:
        return None
    fields: dict[str, Any] = {}
    for argument, required in _keywords(arguments):
        if argument.arg not in known:
            kind = _annotation(argument.annotation)
            key = RENAMED.get(argument.arg, argument.arg)
            fields[key] = (kind, ... if required else None)
    config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    return create_model(name, __config__=config, **fields)


def classes_of(module: str) -> list[str]:
    """Names of the public classes in a module; none where it can't be found."""
    path = source_file(module)
    tree = ast.parse(path.read_text(encoding="utf-8")) if path else ast.Module([], [])
    names = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
    return [name for name in names if not name.startswith("_")]


def class_constant(target: str, name: str) -> object:
    """A constant that a class's body sets, such as a task's `learns`; None where it sets none."""
    module, class_name = split_target(target)
    path = source_file(module)
    tree = ast.parse(path.read_text(encoding="utf-8")) if path else ast.Module([], [])
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.name == class_name:
            set_here = (item for item in node.body if isinstance(item, ast.AnnAssign))
            for item in set_here:
                if ast.unparse(item.target) == name and isinstance(item.value, ast.Constant):
                    return item.value.value
    return None


def _constructor(path: Path, name: str) -> ast.arguments | None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = {n.name: n for n in tree.body if isinstance(n, ast.ClassDef)}
    while name in found:
        body = found[name].body
        for item in body:
            if isinstance(item, ast.FunctionDef) and item.name == "__init__":
                return item.args
        if _is_dataclass(found[name]):
            return _fields(found[name])
        parents = [base.id for base in found[name].bases if isinstance(base, ast.Name)]
        name = next((parent for parent in parents if parent in found), "")
        if not name:
            return ast.arguments([], [], None, [], [], None, [])
    return None


def _is_dataclass(node: ast.ClassDef) -> bool:
    return any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)


def _fields(node: ast.ClassDef) -> ast.arguments:
    """A dataclass's fields as the keyword-only arguments that they become."""
    fields = [
        f for f in node.body if isinstance(f, ast.AnnAssign) and isinstance(f.target, ast.Name)
    ]
    names = [ast.arg(ast.unparse(f.target), f.annotation) for f in fields]
    return ast.arguments([], [], None, names, [f.value for f in fields], None, [])


def _keywords(arguments: ast.arguments) -> list[tuple[ast.arg, bool]]:
    """Each argument that can be given by keyword, and whether it must be."""
    positional = arguments.args[1:]
    first_default = len(positional) - len(arguments.defaults)
    listed = [(a, i < first_default) for i, a in enumerate(positional)]
    only = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    return listed + [(a, default is None) for a, default in only]


def _annotation(node: ast.expr | None) -> Any:
    if node is None:
        return Any
    try:
        # The text is of our own packages and sees only the names above.
        return eval(ast.unparse(node), {"__builtins__": {}}, NAMES)  # noqa: S307
    except (NameError, TypeError, AttributeError, SyntaxError):
        return Any


def node_problem(node: Mapping[str, Any], role: str, where: str) -> Any | None:
    """The first keyword of a node that its class would not take, as pydantic describes it.

    `role` is the key of the node. Raises `ConfigError` where its class may not be named or is not
    there. Nothing is imported.
    """
    module, name = split_target(node.get(TARGET), where, role)
    model = keyword_model(f"{module}.{name}", KNOWN.get(role, ()))
    if model is None:
        names = classes_of(module)
        mend = f"there are: {', '.join(names)}" if names else f"there is no module {module}"
        raise ConfigError(f"there is no class {module}.{name}", where=where, mend=mend)
    problems = _problems(model, {k: v for k, v in node.items() if k != TARGET})
    return problems[0] if problems else None


def _problems(model: type[BaseModel], values: Mapping[str, Any]) -> list[Any]:
    """What is wrong with `values` as keywords: pydantic's list of errors."""
    from pydantic import ValidationError

    try:
        model.model_validate(dict(values))
    except ValidationError as error:
        return list(error.errors(include_url=False, include_context=False))
    return []
