"""Recipes: found by name or as module:function, their options converted, and every failure named in one line."""

from __future__ import annotations

import enum
import sys
from pathlib import Path
from typing import Any, Literal

import pytest

from attent import PluginError, RecipeError
from attent.cli import recipe_lookup
from attent.cli.fields import OptionError
from attent.cli.given import Given, Option, from_flags
from attent.cli.recipe_lookup import default_of, kept_options, option_types, read_options
from attent.plan.plan import Plan
from attent.tests.cli_toy import RECIPE

PLAN = Plan(epochs=2, batch_size=8)


def test_a_backend_s_recipe_is_found_by_name():
    found = recipe_lookup.find("numpy", "vit-digits")
    assert found.function.__name__ == "vit_digits"
    assert found.suggested == {"epochs": 12, "batch_size": 32}
    assert found.backend.packages == ("numpy",)


def test_a_user_s_recipe_is_found_by_module_and_function():
    found = recipe_lookup.find("numpy", RECIPE)
    assert found.suggested == {"epochs": 6, "batch_size": 8}
    assert len(recipe_lookup.build(found, PLAN, {"width": 3})) == 60


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Return a function that writes a module into the current directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def write(name, code):
        (tmp_path / f"{name}.py").write_text(code)

    yield write
    for module in [name for name in sys.modules if name.startswith("recipe_here")]:
        del sys.modules[module]


def test_the_current_directory_is_importable(here):
    here("recipe_here", "import attent\n@attent.recipe(epochs=3)\ndef mine(plan): pass")
    assert recipe_lookup.find("numpy", "recipe_here:mine").suggested == {"epochs": 3}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nope", "no recipe 'nope'; recipes of numpy: byte-gpt, known-digits, vit-digits; your own as package.module:function"),
        (":f", "a recipe reads package.module:function, got ':f'; recipes of numpy: byte-gpt, known-digits, vit-digits"),
        ("recipe_none:f", "recipe 'recipe_none:f': no module 'recipe_none' in the current directory or installed; "
                          "recipes of numpy: byte-gpt, known-digits, vit-digits"),
        ("recipe_none.deep:f", "recipe 'recipe_none.deep:f': no module 'recipe_none' in the current directory or "
                               "installed; recipes of numpy: byte-gpt, known-digits, vit-digits"),
        ("recipe_here.py:mine", "a recipe names a module, not a file: write recipe_here:mine"),
        ("recipe_here:other", "recipe 'recipe_here:other': recipe_here has no 'other'; its recipes: mine, odd"),
        ("recipe_here:number", "recipe 'recipe_here:number' must be a function, got int"),
        ("recipe_here:odd", "recipe 'recipe_here:odd' suggests 'epoch', which is no field of a plan"),
    ],
)  # fmt: skip
def test_a_recipe_that_is_not_there_is_named_with_those_that_are(here, name, message):
    here(
        "recipe_here",
        "import attent\nnumber = 3\n@attent.recipe()\ndef mine(plan): pass\n"
        "def odd(plan): pass\nodd.plan_defaults = {'epoch': 3}",
    )
    with pytest.raises(RecipeError) as caught:
        recipe_lookup.find("numpy", name)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import nothing_of_this_name", "No module named 'nothing_of_this_name'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("from attent import nothing", "cannot import name 'nothing' from 'attent'"),
        ("def f(:", "SyntaxError: "),
    ],
)
def test_a_module_that_fails_is_named_with_the_reason(here, code, reason):
    here("recipe_here_broken", code)
    with pytest.raises(
        RecipeError, match="^recipe 'recipe_here_broken:f': importing recipe_here_broken failed"
    ) as caught:
        recipe_lookup.find("numpy", "recipe_here_broken:f")
    assert reason in str(caught.value)
    assert caught.value.__cause__ is not None


def test_a_backend_that_is_not_there_is_named():
    with pytest.raises(PluginError, match=r"no backend 'abacus'. Installed: .*numpy"):
        recipe_lookup.find("abacus", "vit-digits")


def test_what_is_no_learner_is_refused():
    found = recipe_lookup.find("numpy", "attent.tests.cli_toy:no_learner")
    with pytest.raises(RecipeError, match="must return a learner, got dict without score, train, state, load_state"):
        recipe_lookup.build(found, PLAN, {})


class Colour(enum.Enum):
    """An enumeration, as options may be."""

    RED = "red"


def options_of_every_kind(
    plan,
    *,
    count: int = 3,
    rate: float = 0.1,
    name: str = "x",
    flag: bool = False,
    choice: Literal["a", "b"] = "a",
    maybe: int | None = None,
    either: int | str = 1,
    many: tuple[float, ...] = (),
    table: dict[str, int] = {},  # noqa: B006
    path: Path = Path(),
    colour: Colour = Colour.RED,
    anything: Any = None,
    bare=7,
):
    """Take an option of every kind."""


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("count=4", 4),
        ("rate=4e-3", 0.004),
        ("rate=.5", 0.5),
        ("rate=2", 2.0),
        ("name=3", "3"),
        ("name=a=b", "a=b"),
        ("flag=true", True),
        ("flag=False", False),
        ("choice=b", "b"),
        ("maybe=5", 5),
        ("maybe=null", None),
        ("either=5", 5),
        ("either=five", "five"),
        ("many=[1, 2.5]", (1.0, 2.5)),
        ("table={a = 1}", {"a": 1}),
        ("path=data/x.npz", Path("data/x.npz")),
        ("colour=red", Colour.RED),
        ("anything=[1]", [1]),
        ("anything=word", "word"),
        ("bare=8", 8),
    ],
)
def test_an_option_is_converted_to_its_annotation_and_kept_exactly(text, value):
    given = from_flags({}, {}, [text])
    read = read_options("mine", options_of_every_kind, given.options, given)
    name = text.partition("=")[0]
    assert read == {name: value}
    assert type(read[name]) is type(value)
    kept = {key: Option(one, text=False) for key, one in kept_options(read).items()}
    assert read_options("mine", options_of_every_kind, kept, given) == read


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("count=4.5", "--set count must be int, got '4.5'"),
        ("count=four", "--set count must be int, got 'four'"),
        ("flag=perhaps", "--set flag must be bool, got 'perhaps'"),
        ("choice=c", "--set choice must be Literal['a', 'b'], got 'c': Invalid enum value 'c'"),
        ("many=[1, 'a']", "--set many must be tuple[float, ...], got \"[1, 'a']\""),
        ("size=3", "--set size: recipe 'mine' has no option 'size'; known: count, rate, name, flag, choice, maybe, "
                   "either, many, table, path, colour, anything, bare"),
    ],
)  # fmt: skip
def test_an_option_that_does_not_fit_is_refused(text, message):
    given = from_flags({}, {}, [text])
    with pytest.raises(OptionError) as caught:
        read_options("mine", options_of_every_kind, given.options, given)
    assert str(caught.value) == message


def test_an_option_of_a_file_has_its_type_already():
    given = Given(options={"name": Option(3, text=False)}, names={"recipe.name": "recipe.name in a.toml"})
    with pytest.raises(OptionError, match=r"^recipe.name in a.toml must be str, got 3$"):
        read_options("mine", options_of_every_kind, given.options, given)


def test_an_option_without_a_default_is_needed():
    def needy(plan, *, data: str):
        """Need data."""

    with pytest.raises(OptionError, match="recipe 'mine' needs --set data=VALUE"):
        read_options("mine", needy, {}, Given())


def test_options_are_what_comes_after_the_plan():
    def recipe(plan, first: Nowhere = 1, *rest, second=2.5, **others):  # noqa: F821
        """Have an annotation that cannot be resolved."""

    assert option_types(recipe) == {"first": int, "second": float}
    assert option_types(lambda: None) == {}
    assert default_of(recipe, "second") == 2.5


def test_setting_needs_a_name_and_a_value():
    with pytest.raises(OptionError, match="--set must be name=value, got 'width'"):
        from_flags({}, {}, ["width"])


def test_a_recipe_that_takes_no_plan_is_named(tmp_path, monkeypatch):
    (tmp_path / "planless.py").write_text("def three():\n    return 3\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(
        RecipeError, match=r"'planless:three' must take the plan as its first argument: def three\(plan"
    ):
        recipe_lookup.find("numpy", "planless:three")
