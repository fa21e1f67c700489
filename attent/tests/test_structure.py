"""The core's structure: few rooms on few floors, imports that go one way, and a counter that counts right."""

from __future__ import annotations

from pathlib import Path

import pytest

from attent.tests import structure

ROOT = Path(__file__).parents[2]
LAYERS = (
    ("cli",),
    ("judging",),
    ("reference",),
    ("run",),
    ("plan",),
    ("choose",),
    ("learner", "columns", "extra", "checks", "errors", "tables", "plugins", "data"),
)  # a room imports only from its own layer and from those below


def test_no_files_import_each_other():
    assert structure.circles(structure.imports(ROOT)) == []


def test_rooms_are_few_and_each_has_its_layer():
    rooms = structure.rooms(structure.imports(ROOT))
    assert len(rooms) <= 17
    assert set(rooms) - {room for layer in LAYERS for room in layer} == set()


def test_floors_are_few():
    assert structure.floors(structure.rooms(structure.imports(ROOT))) <= 9


def test_imports_go_one_way():
    assert structure.uphill(structure.imports(ROOT), LAYERS) == []


def test_a_plan_has_few_fields():
    assert 0 < len(structure.plan_fields(ROOT)) <= 13


# The counter itself, on trees made for it.


@pytest.fixture
def tree(tmp_path):
    def make(files):
        for name, text in {"__init__": "", **files}.items():
            path = tmp_path / "attent" / f"{name}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return make


@pytest.mark.parametrize(
    ("statement", "imported"),
    [
        ("import attent.b.c as d", "attent.b.c"),
        ("from attent.b import c", "attent.b.c"),
        ("from attent.b.c import name", "attent.b.c"),
        ("from attent.b import name", "attent.b"),
        ("from attent import b", "attent.b"),
        ("from .b.c import name", "attent.b.c"),
        ("from . import b", "attent.b"),
        ("from attent import Name", "attent"),
        ("import numpy, attention.b", None),
        ("from numpy import b", None),
        ("from attent.a import itself", None),
    ],
)
@pytest.mark.parametrize("where", ["{}", "if TYPE_CHECKING:\n    {}", "def f():\n    {}"])
def test_what_is_imported(tree, statement, imported, where):
    root = tree({"a": where.format(statement), "b/__init__": "", "b/c": ""})
    assert structure.imports(root)["attent.a"] == ({imported} if imported else set())


def test_imports_relative_to_packages(tree):
    root = tree({"a": "", "b/__init__": "from .c import name", "b/c": "from . import d\nfrom .. import a", "b/d": ""})
    graph = structure.imports(root)
    assert (graph["attent.b"], graph["attent.b.c"]) == ({"attent.b.c"}, {"attent.b.d", "attent.a"})


def test_tests_benchmarks_and_lazy_names_are_no_part(tree):
    root = tree({"__init__": "from attent.a import f", "a": "", "tests/test_a": "import attent.a", "benchmarks/b": ""})
    assert structure.imports(root) == {"attent": set(), "attent.a": set()}
    assert structure.rooms(structure.imports(root)) == {"a": set()}


def test_a_circle_is_found_wherever_its_imports_stand(tree):
    root = tree({
        "a": "import attent.b.c",
        "b/__init__": "from attent.b.c import x",
        "b/c": "def f():\n    from attent import d",
        "d": "if TYPE_CHECKING:\n    from attent.a import A",
        "e": "import attent.a",
    })  # fmt: skip
    graph = structure.imports(root)
    assert structure.circles(graph) == [{"attent.a", "attent.b.c", "attent.d"}]
    assert structure.circles(structure.rooms(graph)) == [{"a", "b", "d"}]


def test_two_rooms_may_be_in_a_circle_where_no_files_are(tree):
    graph = structure.imports(tree({"a/b": "import attent.c.d", "c/d": "", "c/e": "import attent.a.b"}))
    assert (structure.circles(graph), structure.circles(structure.rooms(graph))) == ([], [{"a", "c"}])


def test_floors_are_rooms_on_the_longest_chain(tree):
    chain = {"a/x": "import attent.a.y\nimport attent.d", "a/y": "import attent.b", "b": "import attent.c", "c": ""}
    assert structure.floors(structure.rooms(structure.imports(tree({**chain, "d": "import attent.c"})))) == 3
    back = {"d": "import attent.c\nfrom attent.a.x import f"}  # a and d are one then
    assert structure.floors(structure.rooms(structure.imports(tree(back)))) == 3
    assert structure.floors({}) == 0


def test_an_import_from_a_higher_layer_is_named(tree):
    graph = structure.imports(tree({"a": "import attent.b.c", "b/c": "from attent import a, d, Name", "d": ""}))
    assert structure.uphill(graph, [["a"], ["b", "d"]]) == ["attent.b.c imports attent.a"]
    assert structure.uphill(graph, [["a", "b"], ["d"]]) == structure.uphill(graph, [["b"], ["d"]]) == []


def test_the_fields_of_a_plan(tree):
    plan = "class Plan:\n    a: int\n    b: float = 1.0\n    c: ClassVar[int] = 2\n    def d(self):\n        e: int = 1"
    assert structure.plan_fields(tree({"plan/plan": plan, "other": "class Plane:\n    f: int"})) == ["a", "b"]


def test_public_names(tree):
    text = "import os\nA, _B = 1, 2\nC: int = 3\n_d = 4\ndef e(): g = 5\nclass F:\n    h = 6\nasync def _i(): pass"
    root = tree({"a": text, "tests/b": "j = 7"})
    assert structure.public_names(root) == ["attent.a.A", "attent.a.C", "attent.a.e", "attent.a.F"]


def test_lines_by_kind(tree):
    root = tree({"a": "x\n\ny", "tests/b": "x", "c/tests/d": "x\n", "benchmarks/e": "x\ny\n"})
    assert structure.lines(root / "attent") == {"source": 3, "tests": 2, "benchmarks": 2}
    assert sum(structure.lines(root / "nowhere").values()) == 0


def test_the_table_holds_numbers_and_circles(tree):
    printed = structure.table(tree({"a": "import attent.b", "b": "import attent.a"})).splitlines()
    assert printed[0].split() == ["rooms", "2"]
    assert printed[-1] == "a circle of 2: attent.a, attent.b"
