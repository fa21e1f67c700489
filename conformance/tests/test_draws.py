"""Drawn cases: equal seeds draw equal cases, and every kind is among them."""

import numpy as np
import pytest

from attent.reference import SGD, AdamW, NumpyLearner
from attent_conformance import Subject, draws, examine, task
from attent_conformance.draws import LARGEST, LAYOUTS, batches, cut, generator, laid_out, optimisers, schedule, weights
from attent_conformance.pairs import measured, pair, passes, reborn

POOL = np.arange(48)


def test_equal_seeds_and_words_draw_equal_cases_and_others_do_not():
    one, same = (batches(generator(3, "P4", "classes"), POOL, 6) for _ in range(2))
    assert [ids.tolist() for ids in one] == [ids.tolist() for ids in same]
    for other in (generator(4, "P4", "classes"), generator(3, "P4", "padded")):
        assert [ids.tolist() for ids in batches(other, POOL, 6)] != [ids.tolist() for ids in one]


@pytest.mark.parametrize("seed", range(20))
def test_batches_are_of_many_sizes_and_some_repeat_ids(seed):
    drawn = batches(generator(seed), POOL, 10)
    sizes = [len(ids) for ids in drawn]
    assert sizes[0] == LARGEST > 16
    assert sorted(sizes[1:]) == sorted(draws._SIZES)
    repeated = [len(np.unique(ids)) < len(ids) for ids in drawn if len(ids) > 1]
    assert any(repeated)
    assert not all(repeated)


@pytest.mark.parametrize("seed", range(20))
def test_weights_of_every_kind_are_drawn(seed):
    rng = generator(seed)
    drawn = batches(rng, POOL, 7)
    given = weights(rng, drawn)
    assert [w.shape for w in given] == [ids.shape for ids in drawn]
    assert {w.dtype for w in given} == {np.dtype(np.float64)}
    every = np.concatenate(given)
    assert (every < 0).any()
    assert (every > 10).any()
    assert ((every > 0) & (every < 1e-6)).any()
    assert any(not w.any() for w in given)
    assert np.isfinite(every).all()


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_holds_the_same_numbers(name):
    array = np.array([5, 0, 17, 3])
    assert LAYOUTS[name](array).tolist() == [5, 0, 17, 3]
    assert LAYOUTS[name](array).dtype == np.int64


def test_layouts_are_what_their_names_say():
    array = np.arange(6)
    assert LAYOUTS["strided"](array).strides == (24,)
    assert LAYOUTS["backwards in memory"](array).strides == (-8,)
    assert not LAYOUTS["read-only"](array).flags.writeable
    assert not LAYOUTS["unaligned"](array).flags.aligned
    assert LAYOUTS["a part of a larger array"](array).base is not None
    assert [part.tolist() for part in laid_out(generator(0), [array, array])] == [array.tolist()] * 2


@pytest.mark.parametrize("seed", range(20))
def test_parts_of_a_cut_are_all_the_ids_and_one_is_empty(seed):
    parts = cut(generator(seed), POOL)
    assert np.concatenate(parts).tolist() == POOL.tolist()
    assert any(len(part) == 0 for part in parts)


@pytest.mark.parametrize("seed", range(20))
def test_every_setting_of_every_optimiser_is_drawn_off_its_default(seed):
    drawn = [optimiser for optimiser, _ in optimisers(generator(seed)).values()]
    assert None in drawn
    for kind in (AdamW, SGD):
        for name in kind.__dataclass_fields__:
            assert any(isinstance(one, kind) and getattr(one, name) != getattr(kind(), name) for one in drawn), name


def test_a_schedule_rises_falls_and_is_0_at_times():
    rates = [schedule(generator(1), 0.01, 300)(step) for step in range(300)]
    assert 1 <= rates.count(0.0) <= 4
    assert max(rates) <= 0.01
    assert 100 < sum(np.diff(rates) > 0) < 200


def test_a_pair_is_one_learner_and_is_reborn_as_it_was():
    subject = Subject("mine", NumpyLearner)
    one = pair(subject, "padded", "float32")
    assert pair(subject, "padded", "float32") is one
    again = measured(reborn(subject, "padded", "float32"), one.case)
    assert {name: numbers.tolist() for name, numbers in again.items()} == {
        name: numbers.tolist() for name, numbers in one.measured.items()
    }
    assert len(passes(one.case)[0]) == LARGEST


def test_many_examples_are_more_than_16_bits_number():
    case = task("many")
    assert len(case) > 2**16
    assert {0, 127, 128, 255, 256, 32767, 32768, 65535, 65536, len(case) - 1} <= set(case.ids.tolist())


def test_a_failure_tells_the_seed_and_how_to_repeat_it():
    class Capped(NumpyLearner):
        def train(self, batches, weights=None):
            return super().train(batches, weights and [np.minimum(w, 10.0) for w in weights])

    subject = Subject("capped", Capped, seed=7)
    (result,) = examine(subject, "any_weights_train_every_task")
    assert result.status == "fail"
    assert "drawn with seed 7" in result.reason
    assert "examine(subject, rules='any_weights_train_every_task'), of a Subject with seed=7" in result.reason


@pytest.mark.parametrize("seed", [-1, 1.5, True])
def test_a_seed_is_a_whole_number(seed):
    with pytest.raises(ValueError, match="seed must be a whole number of at least 0, got"):
        Subject("mine", NumpyLearner, seed=seed)
