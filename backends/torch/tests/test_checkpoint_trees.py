"""What a state's trees, tensors and generators become as arrays, and that they come back as they were."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attent.errors import LearnerError
from attent_torch.state import pack, unpack


def test_sparse_tensors_cannot_be_saved():
    with pytest.raises(LearnerError, match=r"cannot save 'a/0', a tensor of layout torch.sparse_coo"):
        pack({"a": [torch.eye(2).to_sparse()]})


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
TREES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.integers() | st.text(max_size=3) | st.booleans(), inner, max_size=3)
    ),
    max_leaves=12,
)


@settings(deadline=None)  # only the first is slow
@given(TREES)
def test_trees_come_back_as_they_were(tree):
    assert repr(unpack(pack(tree))) == repr(tree)


@pytest.mark.parametrize(
    "dtype",
    [
        torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.complex64,
        torch.int64, torch.int16, torch.int8, torch.uint8, torch.bool,
    ],
)  # fmt: skip
@pytest.mark.parametrize("shape", [(), (0,), (2, 3)])
def test_tensors_of_every_dtype_come_back(dtype, shape):
    tensor = torch.randint(0, 2, shape).to(dtype)
    back = unpack(pack({"t": tensor}))["t"]
    assert (back.dtype, back.shape) == (dtype, tensor.shape)
    assert torch.equal(back.to(torch.complex128), tensor.to(torch.complex128))


def test_arrays_and_their_kin_come_back():
    tree = {"a": np.arange(4)[::2], "b": np.float32(0.1), "c": Counter([3, 3, 5]), "d": np.int64(7)}
    back = unpack(pack(tree))
    assert back["a"].tolist() == [0, 2]
    assert [type(back[key]) for key in "bcd"] == [np.float32, Counter, np.int64]
    assert (back["b"], back["c"], back["d"]) == (np.float32(0.1), Counter({3: 2, 5: 1}), 7)


@pytest.mark.parametrize("name", ["random/cpu", "random/python/1", "random/numpy/state/key"])
def test_generators_that_cannot_be_taken_up_change_nothing(task, values, assert_same, name):
    learner = task.learner(task.model())
    learner.train([np.arange(5)])
    state = learner.state()
    learner.train([np.arange(5)])
    before = values(learner.model)
    for wrong in (state[name][:3], np.append(state[name], state[name][:1])):
        with pytest.raises(LearnerError, match="generators under 'random' cannot be taken up"):
            learner.load_state({**state, name: wrong})
    assert_same(values(learner.model), before)
