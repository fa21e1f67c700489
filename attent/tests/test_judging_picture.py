"""The picture of a judgement: what is better lies higher, what is dearer further right, and every policy has its name."""

from __future__ import annotations

import itertools
import re
import xml.etree.ElementTree as ET

import msgspec
import pytest

import attent
from attent.judging.picture import picture
from attent.tests import judging_toy as toy

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def found():
    arms = ["hard:default,select=hard", "mild:default,ratio=0.2", "auto"]
    return attent.judge(toy.steady, arms=arms, lengths=[1 / 3, 0.5, 1], tuned=True, seeds=2, against=["full"])


def dots(svg, kind):
    circles = ET.fromstring(svg).iter(f"{SVG}circle")
    return [(float(dot.get("cx")), -float(dot.get("cy"))) for dot in circles if dot.get("class") == kind]


def bars(svg, kind):
    """Return the ends of each interval: heights, the lower first, higher on the picture being more."""
    paths = [each.get("d") for each in ET.fromstring(svg).iter(f"{SVG}path") if each.get("class") == kind]
    return [sorted(-float(one) for one in re.match(r"M[\d.]+ ([\d.]+)V([\d.]+)", path).groups()) for path in paths]


def words(svg):
    return [each.text for each in ET.fromstring(svg).iter(f"{SVG}text")]


def test_the_curve_rises_to_the_right_and_policies_are_named_with_what_they_save(found):
    svg = picture(found)
    full = dots(svg, "full")
    assert full == sorted(full)
    assert [y for _, y in full] == sorted(y for _, y in full)
    assert len(dots(svg, "policy")) == 3
    for name in ("hard", "mild", "auto"):
        assert any(text.startswith(f"{name} ") and text.endswith("%") for text in words(svg))


def test_what_is_better_lies_higher_also_where_less_is_better(found):
    for metrics in (found.metrics, found.metrics[::-1]):
        turned = msgspec.structs.replace(found, metrics=metrics)
        heights = dict(zip(sorted(turned.curves[metrics[0]].costs), dots(picture(turned), "full"), strict=True))
        assert heights[max(heights)][1] >= heights[min(heights)][1]


def test_words_do_not_lie_on_each_other(found):
    twins = [msgspec.structs.replace(found.row("hard"), arm=f"twin {number}") for number in range(4)]
    svg = picture(msgspec.structs.replace(found, rows=twins))
    heights = [float(t.get("y")) for t in ET.fromstring(svg).iter(f"{SVG}text") if t.text.startswith("twin")]
    assert all(abs(a - b) >= 14 for a, b in itertools.pairwise(heights))


def test_names_that_mean_something_to_xml_are_written_as_they_are(found):
    assert "a<b>&c: skill by cost" in words(picture(msgspec.structs.replace(found, recipe="a<b>&c")))[0]


def test_without_a_curve_there_is_no_picture(found):
    assert picture(msgspec.structs.replace(found, curves={})) is None
    assert picture(msgspec.structs.replace(found, metrics=[], rows=[])) is None


def test_every_arm_has_a_dot_and_a_name_and_every_interval_a_bar():
    found = attent.judge(
        toy.uneven, arms=["hard:default,select=hard", "auto"], lengths=[1 / 3, 0.5, 1], tuned=True, seeds=5
    )
    svg = picture(found)
    arms = [arm for arm in found.arms if arm.name not in found.alike]
    for kind, kinds in (("full", ("full", "short")), ("policy", ("policy",)), ("control", ("control",))):
        names = [arm.name for arm in arms if arm.kind in kinds]
        assert len(dots(svg, kind)) == len(names)
        for name in names:
            assert any(text == name or text.startswith(f"{name} ") for text in words(svg)), name
    assert len(bars(svg, "policy")) == 2
    assert len(bars(svg, "control")) == sum(arm.kind == "control" for arm in arms)
    for kind in ("policy", "control"):
        for (low, high), (_, height) in zip(bars(svg, kind), dots(svg, kind), strict=True):
            assert low - 0.2 <= height <= high + 0.2


@pytest.mark.parametrize("turn", [1, -1])
def test_a_bar_is_the_difference_to_full_training_at_its_cost(found, turn):
    metrics = found.metrics[::turn]
    turned = msgspec.structs.replace(found, metrics=metrics)
    row, curve, svg = found.row("hard"), found.curves[metrics[0]], picture(turned)
    full = dict(zip(sorted(curve.measured, reverse=turn < 0), [y for _, y in dots(svg, "full")], strict=True))
    levels = sorted(full)
    per = (full[levels[-1]] - full[levels[0]]) / (levels[-1] - levels[0])  # picture heights per metric
    ahead = row.ahead[metrics[0]]
    low, high = bars(svg, "policy")[[r.arm for r in found.rows if r.kind == "policy"].index("hard")]
    assert high - low == pytest.approx(abs(per) * (ahead.high - ahead.low), abs=0.3)


def test_the_legend_names_the_kinds_of_arms_that_are_there(found):
    def legend(**changes):
        texts = ET.fromstring(picture(msgspec.structs.replace(found, **changes))).iter(f"{SVG}text")
        return [(float(text.get("x")), text.text) for text in texts if text.get("y") == "46.0"]

    beside = "beside a name: of full training's cost it saves"
    plain = [row for row in found.rows if row.kind != "control"]
    assert legend(rows=plain) == [(84, "full training"), (174, "policies"), (234, beside)]
    control = msgspec.structs.replace(found.row("hard"), kind="control")
    assert legend(rows=[control]) == [(84, "full training"), (174, "controls, which look at no loss"), (376, beside)]
    assert [words for _, words in legend(rows=[*plain, control])][1:3] == [
        "policies",
        "controls, which look at no loss",
    ]


def test_axes_are_named_with_units(found):
    assert "cost: epochs on all 50 examples, logarithmic" in words(picture(found))
    assert "skill, higher is better" in words(picture(found))
    turned = msgspec.structs.replace(found, metrics=found.metrics[::-1])
    assert "breadth_loss, lower is better" in words(picture(turned))


def test_an_arm_far_off_lies_on_the_edge_with_its_value(found):
    far = msgspec.structs.replace(found.row("hard"), quality={"skill": -1000.0}, ahead={})
    svg = picture(msgspec.structs.replace(found, rows=[*found.rows, msgspec.structs.replace(far, arm="far")]))
    assert any(text.startswith("far ") and text.endswith(", at -1000: off the picture") for text in words(svg))
    assert min(y for _, y in dots(svg, "policy")) == -416  # the axis
    near = dots(picture(found), "full")
    assert dots(svg, "full") == near  # the others stay where they are


def test_it_is_drawn_for_light_and_for_dark_backgrounds(found):
    style = next(ET.fromstring(picture(found)).iter(f"{SVG}style")).text
    light, dark = style.split("@media (prefers-color-scheme:dark)")
    for name in ("back", "text", "full", "policy", "control"):
        colours = [re.search(rf"{name}{{(?:fill|stroke):(#\w+)", each)[1] for each in (light, dark)]
        assert colours[0] != colours[1]
