"""Matrix products in blocks: equal to plain ones, whatever the number of rows, and to the bit on any threads."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest

from attent.choose.noise import LEARNER, Noise, raw, uniform
from attent.reference.products import _blocks, inner_product, product


def numbers(draw, *shape):
    return uniform(raw(Noise(2, LEARNER + draw), 0, int(np.prod(shape)))).reshape(shape)


@pytest.mark.parametrize("rows", [1, 63, 64, 65, 128, 300])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_products_in_blocks_equal_plain_ones(rows, dtype):
    x, weight, y = (numbers(i, *shape).astype(dtype) for i, shape in enumerate([(rows, 32), (32, 96), (rows, 96)]))
    tolerance = {"rtol": 1e-13 if dtype == "float64" else 1e-5}
    np.testing.assert_allclose(product(x, weight), x @ weight, **tolerance)
    np.testing.assert_allclose(product(y, weight.T), y @ weight.T, **tolerance)
    np.testing.assert_allclose(inner_product(x, y), x.T @ y, **tolerance)
    assert product(x, weight).dtype == inner_product(x, y).dtype == dtype


def test_blocks_have_a_power_of_two_rows_where_there_is_something_to_divide():
    assert _blocks(512, 32 * 96) == (64, 512)
    assert _blocks(70, 32 * 96) == (0, 0)  # 85 rows fit into one thread
    assert _blocks(100, 32 * 96) == (64, 64)
    assert _blocks(512, 256 * 256) == (0, 0)  # so wide that threads pay


PROGRAM = """
import hashlib, numpy as np
from attent.plan.plan import Plan
from attent.reference.recipes import vit_digits
learner = vit_digits(Plan(epochs=1, batch_size=32, ratio=1.0))
learner.train([np.arange(i, i + 32) for i in range(0, 160, 32)])
state = learner.state()
print(hashlib.sha256(b"".join(state[name].tobytes() for name in sorted(state))).hexdigest())
"""


def test_training_does_not_depend_on_the_number_of_threads():
    digests = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "OPENBLAS_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in ("1", "2", "4")
    }
    assert len(digests) == 1
    assert len(digests.pop().strip()) == hashlib.sha256().digest_size * 2
