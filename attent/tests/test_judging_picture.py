"""The picture of a judgement: what is better lies higher, what is dearer further right, and every policy has its name."""

from __future__ import annotations

import itertools
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


def dots(svg, colour):
    circles = ET.fromstring(svg).iter(f"{SVG}circle")
    return [(float(dot.get("cx")), -float(dot.get("cy"))) for dot in circles if dot.get("fill") == colour]


def words(svg):
    return [each.text for each in ET.fromstring(svg).iter(f"{SVG}text")]


def test_the_curve_rises_to_the_right_and_policies_are_named_with_what_they_save(found):
    svg = picture(found)
    full = dots(svg, "#555555")
    assert full == sorted(full)
    assert [y for _, y in full] == sorted(y for _, y in full)
    assert len(dots(svg, "#0b6e4f")) == 3
    for name in ("hard", "mild", "auto"):
        assert any(text.startswith(f"{name} ") and text.endswith("%") for text in words(svg))


def test_what_is_better_lies_higher_also_where_less_is_better(found):
    for metrics in (found.metrics, found.metrics[::-1]):
        turned = msgspec.structs.replace(found, metrics=metrics)
        heights = dict(zip(sorted(turned.curves[metrics[0]].costs), dots(picture(turned), "#555555"), strict=True))
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
