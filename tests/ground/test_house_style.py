"""Ceilings of the house style, held by the code itself."""

import ast
from pathlib import Path

import dpbench

PACKAGE = Path(dpbench.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
FORBIDDEN_NAMES = {"utils", "common", "helpers", "misc", "base"}


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [node for node in ast.walk(tree) if isinstance(node, kinds)]


def test_files_have_at_most_400_lines():
    lengths = {p: p.read_text(encoding="utf-8").count("\n") for p in FILES}
    assert not {str(p): n for p, n in lengths.items() if n > 400}


def test_functions_have_at_most_60_lines():
    long = [
        f"{path.relative_to(PACKAGE)}:{node.lineno} {node.name}"
        for path in FILES
        for node in functions(path)
        if node.end_lineno - node.lineno + 1 > 60
    ]
    assert not long


def test_no_module_is_an_attic():
    assert not [p for p in FILES if p.stem in FORBIDDEN_NAMES]


def test_assert_is_for_tests_only():
    asserting = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Assert)
    ]
    assert not asserting
