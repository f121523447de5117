"""No byte that comes from outside can become code: not by another name for the loader either."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from streamer.adapters import codec
from tests.domain.feed import Disk, Log, feed
from tests.domain.feed import build as build_pipeline
from tests.domain.traffic import objectives

PACKAGE = Path(__file__).parents[2] / "streamer"
FILES = sorted(PACKAGE.rglob("*.py"))
UNSAFE = {
    *(f"builtins.{name}" for name in ("eval", "exec", "compile", "__import__")),
    *(f"yaml.{name}" for name in ("load", "load_all", "full_load", "full_load_all", "unsafe_load",
                                  "unsafe_load_all", "Loader", "FullLoader", "UnsafeLoader", "CLoader")),
    *("pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "code"),
    *("numpy.load", "numpy.lib.npyio.load", "pandas.read_pickle", "pandas.eval", "numexpr.evaluate"),
    *("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput", "runpy", "imp"),
    *("xml.etree.ElementTree.parse", "xml.sax", "xmlrpc", "msgspec.msgpack.Ext"),
}  # fmt: skip


class _Names(ast.NodeVisitor):
    """Every name of another module that a file mentions, whatever it calls it."""

    def __init__(self) -> None:
        self.known = {name: f"builtins.{name}" for name in ("eval", "exec", "compile", "__import__")}
        self.found: set[str] = set()

    def visit_Import(self, node: ast.Import) -> None:
        for each in node.names:
            self.found.add(each.name)
            first = each.name.partition(".")[0]
            self.known[each.asname or first] = each.name if each.asname else first

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for each in node.names:
            self.known[each.asname or each.name] = f"{node.module}.{each.name}"
            self.found |= {f"{node.module}.{each.name}", str(node.module)}

    def visit_Name(self, node: ast.Name) -> None:
        if node.id in self.known:
            self.found.add(self.known[node.id])

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.generic_visit(node)
        path = ast.unparse(node)
        first, _, rest = path.partition(".")
        if first in self.known:
            self.found.add(f"{self.known[first]}.{rest}")

    def visit_Call(self, node: ast.Call) -> None:
        self.generic_visit(node)
        if any(each.arg == "shell" for each in node.keywords):
            self.found.add("os.system")
        if isinstance(node.func, ast.Name) and node.func.id == "getattr" and len(node.args) > 1:
            name = node.args[1]
            owner = self.known.get(ast.unparse(node.args[0]))
            if owner and isinstance(name, ast.Constant):
                self.found.add(f"{owner}.{name.value}")


def unsafe_in(text: str) -> set[str]:
    names = _Names()
    tree = ast.parse(text)
    names.visit(tree)
    names.visit(tree)  # what is used above its import
    return {name for name in names.found if name in UNSAFE or name.partition(".")[0] in UNSAFE}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_no_file_names_a_loader_that_could_run_code(file: Path) -> None:
    assert not unsafe_in(file.read_text())


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from pickle import loads as read\nread(b'')",
        "import yaml\nyaml.load(x)",
        "from yaml import load as read",
        "import yaml as y\ny.unsafe_load(x)",
        "import yaml\nclass L(yaml.Loader): ...",
        "import yaml\ngetattr(yaml, 'load')(x)",
        "f = eval",
        "def f(): g = exec",
        "import numpy as np\nnp.load(x, allow_pickle=True)",
        "import subprocess\nsubprocess.run(x, shell=True)",
        "import os\nos.system(x)",
    ],
)
def test_the_test_above_finds_them(text: str) -> None:
    assert unsafe_in(text)


def test_a_state_is_written_and_restored_without_a_pickle() -> None:
    events: list[str] = []
    watching = [True]

    def hook(event: str, _: object) -> None:
        if watching and (
            event.startswith(("pickle.", "marshal.")) or event in ("os.system", "subprocess.Popen")
        ):
            events.append(event)

    sys.addaudithook(hook)  # there is no way to take it away
    try:
        disk = Disk(objectives())
        pipeline = build_pipeline(objectives())
        log = Log()
        for number in range(200):
            log.predict(str(number), features={"x": number})
            log.label(str(number), 0)
        feed(pipeline, log.steps)
        disk.commit(pipeline)
        disk.restore()
        codec.decode_event(b'{"a": 1}')
    finally:
        watching.clear()
    assert events == []
