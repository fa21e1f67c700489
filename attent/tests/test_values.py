"""Policies and sources are values: text, table, repr and file give back what was written, and nothing else."""

from __future__ import annotations

import dataclasses
import json
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attent
from attent import (
    Auto,
    Balanced,
    Band,
    ByGroup,
    Fresh,
    Hard,
    InfoBatch,
    InTurn,
    PerCost,
    Plan,
    Pool,
    Proxy,
    Random,
    Replay,
    Reuse,
    Soft,
    Tempered,
)
from attent.choose import built_in, sources
from attent.choose.built_in import policy_of
from attent.choose.policy import asks
from attent.choose.sources import source_of

NAMES = {**{name: getattr(attent, name) for name in attent.__all__}, "inf": math.inf}
SMALLEST = 2.0**-1022  # a temperature below it is 0


def numbers(low, high, **limits):
    """Draw numbers as they are written, whole ones too, and as NumPy and fractions hold them."""
    drawn = st.floats(low, high, **limits)
    whole = st.integers(math.ceil(low), min(10**9, math.floor(min(high, 1e9))))
    if limits.get("exclude_min"):
        whole = whole.filter(lambda number: number > low)
    return st.one_of(drawn, whole, drawn.map(np.float64), whole.map(np.int64), whole.map(Fraction))


def softs(correction=True):
    scalings = st.sampled_from(["none", "std", "rank"])
    free = st.builds(Soft, numbers(0, math.inf), scalings)
    if not correction:
        return free
    return free | st.builds(Soft, numbers(SMALLEST, 1e300), scalings, numbers(0, math.inf, exclude_min=True))


ties = st.one_of(st.just(Hard()), st.just(Random()), softs(correction=False), st.builds(Band, numbers(0.01, 1)))
listed = st.lists(numbers(0, 1e6), min_size=1, max_size=4).filter(any)
shares = st.one_of(
    st.sampled_from(["even", "size", "loss", "speed"]),
    numbers(0, 1),
    listed.map(tuple),
    listed,
    listed.map(lambda held: np.array(held, np.float64)),
    listed.map(lambda held: dict(enumerate(held))),
)
inner = st.one_of(ties, st.builds(InTurn, ties), st.builds(PerCost, ties.filter(lambda one: one != Random())))
grouped = st.one_of(
    st.builds(ByGroup, inner, shares, st.none() | shares, numbers(0, 1, exclude_min=True)),
    st.builds(
        ByGroup,
        st.just(Random()) | st.builds(Soft, numbers(SMALLEST, 1e300)),
        shares,
        correction=numbers(0, math.inf, exclude_min=True),
    ),
    st.builds(Tempered, numbers(0, 1), st.none() | numbers(0, 1)),
)
every_policy = st.one_of(
    grouped,
    inner,
    st.sampled_from([Hard(), Random(), InfoBatch(), Balanced()]),
    softs(),
    st.builds(Band, numbers(0, 1, exclude_min=True)),
    st.builds(InTurn, ties),
    st.builds(Auto, numbers(0, 1e6), softs(correction=False)),
)
every_source = st.one_of(
    st.sampled_from([Fresh(), Replay()]),
    st.builds(Reuse, st.sampled_from(["loss", "progress"]), numbers(0, 1e6), numbers(0, 1)),
    st.builds(Pool, numbers(0, 1, exclude_min=True)),
    st.builds(Proxy, numbers(0, 1, exclude_min=True)),
)


def test_every_built_in_value_is_drawn():
    plain = {Hard, Soft, Random, Band, InfoBatch, InTurn, Auto, PerCost}
    assert set(built_in.BUILT_IN.values()) == {*plain, Balanced, Tempered, ByGroup}
    assert set(sources.BUILT_IN.values()) == {Reuse, Fresh, Pool, Proxy, Replay}


def tabled(value, known):
    """Return a value as TOML would hold it, values inside it too."""
    name = next(name for name, maker in known.items() if maker is type(value))
    held = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    inside = {key: tabled(one, known) if dataclasses.is_dataclass(one) else one for key, one in held.items()}
    inside = {key: list(one) if isinstance(one, tuple) else one for key, one in inside.items()}
    return {"name": name, **{key: "inf" if one == math.inf else one for key, one in inside.items() if one is not None}}


def check_read_back(value, shown, read, known):
    text = shown(value)
    assert read(text) == value, text
    assert shown(read(text)) == text
    assert eval(repr(value), dict(NAMES)) == value
    assert read(tabled(value, known)) == value
    assert (hash(read(text)), read(value)) == (hash(value), value)
    plain = [getattr(value, field.name) for field in dataclasses.fields(value)]
    plain += [inside for one in plain if type(one) is tuple for inside in one]
    assert all(type(one) in (int, float, str, tuple, type(None), *known.values()) for one in plain)


@given(every_policy)
@settings(max_examples=400, deadline=None)
def test_policies_read_back_from_text_table_and_repr(policy):
    check_read_back(policy, built_in.shown, policy_of, built_in.BUILT_IN)


@given(every_source)
@settings(max_examples=300, deadline=None)
def test_sources_read_back_from_text_table_and_repr(source):
    check_read_back(source, sources.shown, source_of, sources.BUILT_IN)


@given(every_policy, every_source)
@settings(max_examples=300, deadline=None)
def test_plans_read_back_from_json(policy, source):
    asked = asks(policy)
    if asked or isinstance(source, Reuse):
        source = Reuse() if asked else source
    share = sources.share_of(source)
    plan = Plan(epochs=9, batch_size=4, warm_up=2, ratio=min(share, 0.4), select=policy, source=source)
    kept = json.loads(json.dumps(plan.to_dict(), allow_nan=False))
    assert Plan.from_dict(kept) == plan
    assert (kept["select"], kept["source"]) == (built_in.shown(policy), sources.shown(source))
    tables = {"select": tabled(policy, built_in.BUILT_IN), "source": tabled(source, sources.BUILT_IN)}
    assert Plan.from_dict({**kept, **tables}) == plan
    assert eval(repr(plan), dict(NAMES)) == plan


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Hard", Hard()),
        ("tempered(0.3, to=0)", Tempered(alpha=0.3, to=0)),
        ("by_group(soft(0.3), share=size)", ByGroup(Soft(0.3), "size")),
        ("ByGroup('hard', share={0: 3, 2: 1}, to=even)", ByGroup(Hard(), (3, 0.0, 1), to="even")),
        ("by_group(per_cost, [0.5, 0.5])", ByGroup(PerCost(), (0.5, 0.5))),
        ("  in_turn ( ties = Soft ) ", InTurn(ties=Soft())),
        ("InTurn(hard)", InTurn(ties=Hard())),
        ("IN-TURN('soft(0.3)')", InTurn(ties=Soft(temperature=0.3))),
        ("info_batch()", InfoBatch()),
        ("Soft(temperature=inf, scaling=none, correction=None)", Soft(math.inf, "none")),
        ("soft(1, 'rank', correction=inf)", Soft(1, "rank", math.inf)),
        ("soft(temperature=\n0.3)", Soft(temperature=0.3)),
        ("auto(soft=soft(0.4), bonus=0.1)", Auto(bonus=0.1, soft=Soft(temperature=0.4))),
        ({"name": "Soft", "temperature": "inf"}, Soft(math.inf)),
        ({"name": "in_turn", "ties": "soft(0.3)"}, InTurn(ties=Soft(temperature=0.3))),
        ({"name": "in_turn", "ties": {"name": "soft", "temperature": 0.3}}, InTurn(ties=Soft(temperature=0.3))),
    ],
    ids=str,
)
def test_what_may_be_written_in_several_ways(text, value):
    assert policy_of(text) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Hard(), "hard()"),
        (Soft(), "soft()"),
        (Soft(1.0, "std", None), "soft()"),
        (Soft(np.float64(0.3), "none", math.inf), "soft(temperature=0.3, scaling='none', correction=inf)"),
        (Soft(Fraction(1, 4)), "soft(temperature=0.25)"),
        (InTurn(), "in_turn()"),
        (InTurn(ties=Soft(temperature=0.3)), "in_turn(ties=soft(temperature=0.3))"),
        (Auto(bonus=np.float32(0.5)), "auto(bonus=0.5)"),
        (Band(1), "band(cap=1)"),
    ],
    ids=repr,
)
def test_what_is_as_usual_is_left_out(value, text):
    assert built_in.shown(value) == text


KNOWN = "known: hard, soft, random, band, infobatch, in_turn, auto, per_cost, balanced, tempered, by_group; your own as package.module:Class(...)"
READS = "a policy reads like soft(temperature=0.3), got "
MUST = "must be a policy such as Soft(temperature=0.3), or its text, got "


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("greedy", f"no policy 'greedy'; {KNOWN}"),
        ("greedy(temperature=0.3)", f"no policy 'greedy'; {KNOWN}"),
        ("g" * 100_000, f"no policy '{'g' * 199}...; {KNOWN}"),
        (
            "soft(heat=0.3)",
            "policy 'soft': got an unexpected keyword argument 'heat'; it takes: temperature, scaling, ",
        ),
        ("hard(3)", "policy 'hard': too many positional arguments; it takes: nothing"),
        ("soft(0.3, temperature=1)", "policy 'soft': multiple values for argument 'temperature'; it takes: "),
        ("soft(temperature=-0.5)", "temperature must be at least 0, got -0.5"),
        ("soft(temperature=x)", "temperature must be at least 0, got 'x'"),
        ("soft(temperature=hard)", "temperature must be at least 0, got Hard()"),
        ("soft(temperature=-inf)", "temperature must be at least 0, got -inf"),
        ("soft(scaling='max')", "scaling must be one of none, std, rank, got 'max'"),
        ("soft(correction=0)", "correction must be above 0, or None, got 0"),
        ("soft(0, correction=2)", "correction needs a choice that is random: a temperature above 0"),
        ("soft(1e-310, correction=2)", "correction needs a choice that is random: a temperature above 0"),
        ("band(cap=1.5)", "cap must be in (0, 1], got 1.5"),
        ("band(cap=true)", "cap must be in (0, 1], got True"),
        ("auto(bonus=-1)", "bonus must be in [0, 1e+06], got -1"),
        ("auto(soft=hard)", "soft must be a soft policy without correction, got hard()"),
        ("auto(soft=soft(correction=2))", "soft must be a soft policy without correction, got soft(correction=2)"),
        ("auto(proved=soft(correction=2))", "proved must be a soft policy without correction, got soft(correction=2)"),
        ("auto(proved=0.3)", "proved must be a policy such as Soft(temperature=0.3), or its text, got 0.3"),
        ("in_turn(ties=2)", "ties must be a policy such as Soft(temperature=0.3), or its text, got 2"),
        ("per_cost(2)", "inner must be a policy such as Soft(temperature=0.3), or its text, got 2"),
        ("by_group(2)", "inner must be a policy such as Soft(temperature=0.3), or its text, got 2"),
        ("in_turn(ties=in_turn)", "ties must be a policy that asks for nothing further and gives no weights, got in_"),
        ("in_turn(ties=infobatch)", "gives no weights, got infobatch()"),
        ("in_turn(ties=soft(correction=2))", "gives no weights, got soft(correction=2)"),
        ("in_turn(ties=greedy)", "no policy 'greedy'"),
        ("", f"{READS}''"),
        ("soft(", f"{READS}'soft('"),
        ("soft)", f"{READS}'soft)'"),
        ("soft hard", f"{READS}'soft hard'"),
        ("soft(temperature=)", f"{READS}'soft(temperature=)'"),
        ("soft(1)(2)", f"{READS}'soft(1)(2)'"),
        ("soft(1).x(2)", f"{READS}'soft(1).x(2)'"),
        ("soft(1) + (2)", f"{READS}'soft(1) + (2)'"),
        ("soft(1), (2)", f"{READS}'soft(1), (2)'"),
        ("soft(temperature=1, temperature=2)", f"{READS}'soft(temperature=1, temperature=2)'"),
        ("soft(**{'temperature': 1})", READS),
        ("soft(*[1])", f"{READS}'*[1]'"),
        ("soft(temperature=1 + 1)", f"{READS}'1 + 1'"),
        ("soft(temperature=lambda: 1)", f"{READS}'lambda: 1'"),
        ("soft(temperature=a.b)", f"{READS}'a.b'"),
        ("soft(\0)", READS),
        ("a:b:c", f"{READS}'a:b:c'"),
        ("soft(temperature=" + "9" * 5000 + ")", f"{READS}'soft(temperature={'9' * 62}"),
        ("in_turn(ties=" * 20 + "hard" + ")" * 20, "ties must be a policy that asks for nothing further"),
        ("in_turn(ties=" * 5000 + "hard" + ")" * 5000, f"{READS}'in_turn(ties=in_turn("),
        ("soft(temperature=" + "-" * 3000 + "1)", f"{READS}'soft(temperature=---"),
        ("soft(temperature=" + "[" * 150 + "]" * 150 + ")", "temperature must be at least 0, got [[["),
        ("soft(temperature=" + "1+" * 5000 + "1)", f"{READS}'soft(temperature=1+1+"),
        ({"temperature": 0.3}, "a policy as a table needs its name, such as {name = 'soft'}, got {'temperature': 0.3}"),
        ({"name": 3}, "a policy as a table needs its name"),
        ({"name": "greedy"}, f"no policy 'greedy'; {KNOWN}"),
        ({"name": "soft", "heat": 1}, "policy 'soft': got an unexpected keyword argument 'heat'"),
        ({"name": "soft", "temperature": "hot"}, "temperature must be at least 0, got 'hot'"),
        ({"name": "soft(0.3)"}, "no policy 'soft(0.3)'"),
        (Soft, f"{MUST}<class 'attent.choose.policies.Soft'>: write Soft()"),
        (None, f"{MUST}None"),
        (["hard"], f"{MUST}['hard']"),
        (Fresh(), f"{MUST}Fresh()"),
        (print, f"{MUST}<built-in function print>"),
    ],
    ids=lambda given: str(given)[:40],
)
def test_what_is_no_policy_is_told(given, words):
    with pytest.raises(attent.PlanError) as error:
        policy_of(given)
    assert words in str(error.value)
    assert len(str(error.value)) < 500


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("new", "no source 'new'; known: reuse, fresh, pool, proxy, replay"),
        (
            "reuse(size=3)",
            "source 'reuse': got an unexpected keyword argument 'size'; it takes: measure, bonus, refresh",
        ),
        ("reuse(measure='gain')", "measure must be one of loss, progress, got 'gain'"),
        ("pool(share=0)", "share must be in (0, 1], got 0"),
        ("proxy(1.5)", "share must be in (0, 1], got 1.5"),
        ("reuse(", "a source reads like reuse(bonus=0.1), got 'reuse('"),
        ({"share": 0.5}, "a source as a table needs its name"),
        (
            Fresh,
            "must be a source such as Reuse(), or its text, got <class 'attent.choose.sources.Fresh'>: write Fresh()",
        ),
        (Hard(), "must be a source such as Reuse(), or its text, got Hard()"),
        ("fractions:Fraction(1)", "source fractions:Fraction is of Python's own library: name a class of your own"),
        (None, "must be a source such as Reuse(), or its text, got None"),
    ],
    ids=str,
)
def test_what_is_no_source_is_told(given, words):
    with pytest.raises(attent.PlanError) as error:
        source_of(given)
    assert words in str(error.value)


def test_a_value_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Soft().temperature = 0.3
    assert dataclasses.replace(Soft(), temperature=0.3) == Soft(temperature=0.3)
