"""Policies that are classes of one's own, as values: named by where they are, compared by what they hold."""

from __future__ import annotations

import dataclasses
import sys

import pytest

import attent
from attent import (
    Plan,
)
from attent.choose.built_in import policy_of

MINE = """
import dataclasses
import attent
from attent.choose.values import value

@value
class Nearest:
    quantile: float = 0.75
    def __post_init__(self):
        if not 0 <= self.quantile <= 1:
            raise attent.PlanError(f"must be in [0, 1], got {self.quantile}", field="quantile")
    def choose(self, scores, k, noise, ids=None):
        return attent.hard(-abs(scores - self.quantile), k, ids=ids)

@dataclasses.dataclass(frozen=True)
class Plain:
    width: int = 3
    class Inner:
        def choose(self, scores, k, noise, ids=None):
            return attent.hard(scores, k, ids=ids)
    def choose(self, scores, k, noise, ids=None):
        return attent.hard(scores, k, ids=ids)

class NoPolicy:
    pass

class Held:
    def __init__(self, weights):
        if not weights:
            raise ValueError("weights must be some")
        self.weights = weights
    def choose(self, scores, k, noise, ids=None):
        return attent.hard(scores, k, ids=ids)

def made(cold):
    return Nearest(0.1 if cold else 0.9)

number = 3
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A module of the user's in the current directory."""
    (tmp_path / "my_own_policies.py").write_text(MINE)
    (tmp_path / "my_broken_policies.py").write_text("raise RuntimeError('broken here')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    yield "my_own_policies"
    sys.modules.pop("my_own_policies", None)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("{}:Nearest", "{}:Nearest()"),
        ("{}:Nearest(quantile=0.5)", "{}:Nearest(quantile=0.5)"),
        (" {}:Nearest ( 0.5 ) ", "{}:Nearest(quantile=0.5)"),
        ("{}:Plain(width=4)", "{}:Plain(width=4)"),
        ("{}:made(true)", "{}:Nearest(quantile=0.1)"),
        ("in_turn(ties='{}:Nearest(quantile=0.5)')", "in_turn(ties='{}:Nearest(quantile=0.5)')"),
        ({"name": "{}:Nearest", "quantile": 0.5}, "{}:Nearest(quantile=0.5)"),
    ],
    ids=str,
)
def test_a_class_of_ones_own_is_named_by_where_it_is(mine, text, shown):
    named = text if isinstance(text, str) else text["name"]
    given = named.format(mine) if isinstance(text, str) else {**text, "name": named.format(mine)}
    plan = Plan(epochs=3, batch_size=4, warm_up=1, select=given)
    assert plan.to_dict()["select"] == shown.format(mine)
    assert Plan.from_dict(plan.to_dict()) == plan
    assert plan.select == policy_of(shown.format(mine))


def test_what_a_class_that_is_no_dataclass_holds_tells_two_of_its_objects_apart(mine):
    text = f"{mine}:Held(weights={{'a': (1, 2j)}})"
    plan, other = (Plan(epochs=3, batch_size=4, warm_up=1, select=one) for one in (text, text.replace("1", "3")))
    assert plan.to_dict()["select"] == text
    state = attent.Course(plan, 8).state()
    attent.Course(dataclasses.replace(plan, select=text), 8).load_state(state)
    with pytest.raises(attent.CourseError, match="of another plan: select was"):
        attent.Course(other, 8).load_state(state)


def test_a_class_within_a_class_is_found(mine):
    assert type(policy_of(f"{mine}:Plain.Inner")).__qualname__ == "Plain.Inner"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "{}:Farthest",
            "policy {}:Farthest cannot be imported: AttributeError: module '{}' has no attribute 'Farthest'",
        ),
        ("no_such_module:Nearest", "policy no_such_module:Nearest cannot be imported: ModuleNotFoundError: No module"),
        ("my_broken_policies:Nearest", "cannot be imported: RuntimeError: broken here"),
        ("{}:number", "policy {}:number must be a class or a function, got int"),
        ("{}:NoPolicy", "must be a policy such as Soft(temperature=0.3), or its text, got <{}.NoPolicy object at"),
        ("{}:Nearest(far=1)", "policy '{}:Nearest': got an unexpected keyword argument 'far'; it takes: quantile"),
        ("{}:Nearest(quantile=2)", "quantile must be in [0, 1], got 2"),
        ("{}:Held(weights=())", "policy '{}:Held': ValueError: weights must be some"),
        ("builtins:dict", "policy builtins:dict is of Python's own library: name a class of your own"),
        ("{}:made()", "policy '{}:made': missing a required argument: 'cold'; it takes: cold"),
        ("{}:made(true", "a policy reads like soft(temperature=0.3), got '{}:made(true'"),
    ],
)
def test_a_class_of_ones_own_that_is_none_is_told(mine, text, words):
    with pytest.raises(attent.PlanError) as error:
        Plan(epochs=3, batch_size=4, select=text.format(mine))
    assert error.value.field == "select"
    assert words.replace("{}", mine) in str(error.value)


@pytest.mark.parametrize("field", ["select", "source", "ratio", "interval"])
@pytest.mark.parametrize(
    "text", ["os:system('touch {}')", "subprocess:run(['touch', '{}'])", "builtins:exec('open({!r}, 1)')"]
)
def test_no_text_makes_pythons_own_library_act(tmp_path, field, text):
    """A text may come from a file that a stranger wrote."""
    with pytest.raises(attent.PlanError, match="is of Python's own library: name a class of your own|reads like"):
        Plan(epochs=3, batch_size=4, **{field: text.format(tmp_path / "there")})
    with pytest.raises(attent.PlanError):
        Plan(epochs=3, batch_size=4, select={"name": "os:system", "command": f"touch {tmp_path / 'there'}"})
    assert not (tmp_path / "there").exists()
