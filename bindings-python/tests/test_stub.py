"""`_native.pyi` says exactly what the Rust module has: names, and each signature."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sealpoint import _native

STUB = ast.parse((Path(__file__).parents[1] / "python" / "sealpoint" / "_native.pyi").read_text())
TYPE_ALIASES = {"ManifestFields", "ManifestChannels"}
CLASSES = [node for node in STUB.body if isinstance(node, ast.ClassDef)]
KINDS = {
    inspect.Parameter.POSITIONAL_ONLY: "positional",
    inspect.Parameter.POSITIONAL_OR_KEYWORD: "either",
    inspect.Parameter.KEYWORD_ONLY: "keyword",
    inspect.Parameter.VAR_KEYWORD: "**",
    inspect.Parameter.VAR_POSITIONAL: "*",
}


def names(body: list[ast.stmt]) -> set[str]:
    found = {node.name for node in body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    found |= {node.target.id for node in body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)}
    return found | {target.id for node in body if isinstance(node, ast.Assign) for target in node.targets if isinstance(target, ast.Name)}


def is_public(name: str) -> bool:
    return not name.startswith("__")


def functions() -> list[Any]:
    return list(_functions())


def _functions() -> Iterator[Any]:
    for node in STUB.body:
        if isinstance(node, ast.FunctionDef):
            yield pytest.param(node, getattr(_native, node.name, None), False, id=node.name)
    for kind in CLASSES:
        for node in kind.body:
            if not isinstance(node, ast.FunctionDef) or node.name in {"__eq__", "__hash__", "__len__"} or decorated(node, "property"):
                continue
            if (kind.name, node.name) == ("Context", "__new__"):
                continue  # takes tenant and purpose out of **pairs, so that a missing one is `tenant_required` and no TypeError
            owner = getattr(_native, kind.name, None)
            function = owner if node.name == "__new__" else getattr(owner, node.name, None)
            yield pytest.param(node, function, not decorated(node, "staticmethod"), id=f"{kind.name}.{node.name}")


def decorated(node: ast.FunctionDef, name: str) -> bool:
    return any(isinstance(decorator, ast.Name) and decorator.id == name for decorator in node.decorator_list)


def stub_signature(node: ast.FunctionDef, bound: bool) -> list[tuple[str, str, object]]:
    arguments = node.args
    nothing = inspect.Parameter.empty
    plain = [*arguments.posonlyargs, *arguments.args]
    defaults = [nothing] * (len(plain) - len(arguments.defaults)) + [ast.literal_eval(default) for default in arguments.defaults]
    found = [
        (argument.arg, "positional" if argument in arguments.posonlyargs else "either", default)
        for argument, default in zip(plain, defaults, strict=True)
    ]
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        found.append((argument.arg, "keyword", nothing if default is None else ast.literal_eval(default)))
    if arguments.kwarg:
        found.append((arguments.kwarg.arg, "**", nothing))
    return found[1:] if bound else found


def test_every_name_of_the_module() -> None:
    assert names(STUB.body) - TYPE_ALIASES - {"__version__"} == {name for name in vars(_native) if is_public(name)}
    assert isinstance(_native.__version__, str)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.name)
def test_every_member_of_a_class(kind: ast.ClassDef) -> None:
    real = getattr(_native, kind.name)
    assert {name for name in names(kind.body) if is_public(name)} == {name for name in vars(real) if is_public(name)}
    for node in kind.body:
        if isinstance(node, ast.FunctionDef) and decorated(node, "property"):
            assert not callable(vars(real)[node.name])
        elif isinstance(node, ast.FunctionDef) and not is_public(node.name):
            assert getattr(real, node.name, None) is not None
    with pytest.raises(TypeError):
        type("Derived", (real,), {})


@pytest.mark.parametrize(("node", "function", "bound"), functions())
def test_every_signature(node: ast.FunctionDef, function: Any, bound: bool) -> None:
    parameters = list(inspect.signature(function).parameters.values())
    if bound and node.name != "__new__":
        parameters = parameters[1:]
    assert [(p.name, KINDS[p.kind], p.default) for p in parameters] == stub_signature(node, bound)


@pytest.mark.parametrize("name", ["SecretKey", "LocalKek", "DataKey"])
def test_what_is_made_by_a_function_has_no_constructor(name: str) -> None:
    with pytest.raises(TypeError):
        getattr(_native, name)()
