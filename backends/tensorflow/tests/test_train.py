"""train(): which losses it returns, and which step it takes (rules P2, P3, P4, P7)."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from attent.errors import LearnerError
from attent_tensorflow import SGD, AdamW, TensorFlowLearner


def values(model):
    return [variable.numpy() for variable in model.variables]


def assert_close(ours, theirs):
    for a, b in zip(values(ours), values(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("weighted", [False, True])
def test_equals_the_loop_by_hand(task, weighted):
    weights = task.weights if weighted else None

    def rate(step):
        return 0.1 / (1 + step)

    learner, theirs = task.learner(learning_rate=rate), task.model()
    parts = [slice(0, 2), slice(2, 5)]
    losses = [learner.train(task.batches[part], weights and weights[part]) for part in parts]
    np.testing.assert_allclose(np.concatenate(losses), task.by_hand(theirs, rate, weights=weights), rtol=1e-12)
    assert_close(learner.model, theirs)
    assert learner.steps == 5
    assert losses[0].dtype == np.float64


def test_weights_of_one_equal_no_weights(task, assert_same):
    ones, without = task.learner(), task.learner()
    ones.train(task.batches, [np.ones(len(ids)) for ids in task.batches])
    without.train(task.batches)
    assert_same(ones.state(), without.state())


def test_a_weight_of_zero_takes_an_example_out_of_the_sum_but_not_of_the_count(task):
    learner, theirs = task.learner(), task.model()
    weights = [np.array([1.0, 0.0, 2.0])]
    losses = learner.train([np.array([3, 4, 5])], weights)
    expected = task.by_hand(theirs, lambda step: 0.1, batches=[np.array([3, 5])], weights=[np.array([1, 2]) * 2 / 3])
    np.testing.assert_allclose(losses[[0, 2]], expected, rtol=1e-13)
    assert_close(learner.model, theirs)


def test_returned_losses_are_from_before_each_update(task):
    learner = task.learner()
    ids = task.batches[0]
    before = learner.score(ids)
    np.testing.assert_allclose(learner.train([ids]), before, rtol=1e-14)
    assert (learner.score(ids) != before).all()


def test_one_trace_for_all_shapes_and_weights(task):
    learner = task.learner()
    for batches in (task.batches, task.batches[:1], [np.arange(24)], [np.array([3])] * 9):
        learner.train(batches)
        learner.train(batches, [np.ones(len(ids)) for ids in batches])
    assert learner.traces == {"score": 0, "train": 1}
    assert learner.steps == 2 * (5 + 1 + 1 + 9)


def test_how_batches_are_split_into_calls_does_not_matter(task, assert_same):
    together, apart = task.learner(optimizer=AdamW(0.05)), task.learner(optimizer=AdamW(0.05))
    losses = together.train(task.batches)
    assert losses.tolist() == np.concatenate([apart.train([ids]) for ids in task.batches]).tolist()
    assert_same(together.state(), apart.state())


def test_short_batches_see_no_padding():
    from attent_tensorflow import KerasLearner

    x = np.random.default_rng(0).normal(size=(24, 3)).astype(np.float32)
    model = keras.Sequential([keras.layers.BatchNormalization(momentum=0.5), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.0), "mse")
    learner = KerasLearner(model, (x, x[:, :1]))
    learner.train([np.arange(16), np.arange(3)])
    expected = (0.5 * x[:16].mean(0)) * 0.5 + 0.5 * x[:3].mean(0)
    np.testing.assert_allclose(model.layers[0].moving_mean.numpy(), expected, rtol=1e-5)


def test_clipping_caps_the_norm_of_the_whole_gradient(task):
    learner, theirs = task.learner(optimizer=SGD(1.0), clip_norm=0.01), task.model()
    ids = task.batches[0]
    learner.train([ids])
    with tf.GradientTape() as tape:
        objective = tf.reduce_mean(task.loss(theirs, (task.x[ids], task.y[ids]), True))
    gradients, norm = tf.clip_by_global_norm(tape.gradient(objective, theirs.trainable_variables), 0.01)
    assert norm > 0.1  # so the cap was felt
    for variable, gradient in zip(theirs.trainable_variables, gradients, strict=True):
        variable.assign_sub(gradient)
    assert_close(learner.model, theirs)


def test_tasks_are_summed_with_their_weights(task):
    def tasks(model, batch, training):
        error = (model(batch[0]) - batch[1]) ** 2
        return {"left": error[:, 0], "right": error[:, 1]}

    learner = task.learner(loss=tasks, task_weights={"left": 0.25, "right": 2.0})
    single = task.learner(
        loss=lambda model, batch, training: tf.linalg.matvec(
            (model(batch[0]) - batch[1]) ** 2, tf.constant([0.25, 2.0], tf.float64)
        )
    )
    ids = np.arange(24)
    np.testing.assert_allclose(learner.score(ids), single.score(ids), rtol=1e-13)
    np.testing.assert_allclose(learner.train(task.batches), single.train(task.batches), rtol=1e-12)
    assert_close(learner.model, single.model)
    plain = task.learner(loss=tasks).score(ids)
    np.testing.assert_allclose(plain, 2 * task.learner().score(ids), rtol=1e-13)
    with pytest.raises(LearnerError, match="task_weights names 'left', but the loss returned 'left', 'right'"):
        task.learner(loss=tasks, task_weights={"left": 1.0})
    with pytest.raises(LearnerError, match="task_weights names 'left', but the loss returned one tensor"):
        task.learner(task_weights={"left": 1.0})


def test_a_penalty_is_minimised_but_no_loss(task):
    learner, theirs = task.learner(penalty=lambda model: 0.3 * tf.nn.l2_loss(model.first)), task.model()
    first = theirs.first.numpy()
    losses = learner.train(task.batches[:1])
    np.testing.assert_allclose(losses, task.by_hand(theirs, lambda step: 0.1, batches=task.batches[:1]), rtol=1e-13)
    theirs.first.assign_sub(0.1 * 0.3 * first)
    assert_close(learner.model, theirs)


def test_losses_that_are_not_finite_pass_through(task):
    task.x[task.batches[0][2]] = np.nan
    losses = task.learner().train(task.batches[:1])
    assert np.isnan(losses).tolist() == [False, False, True, False, False, False]


def test_no_batches_take_no_step(task):
    learner = task.learner()
    assert learner.train([]).tolist() == []
    assert learner.steps == 0


@pytest.mark.parametrize(
    ("batches", "weights", "message"),
    [
        ([np.arange(3), np.array([], np.int64)], None, r"batches\[1\] is empty; an optimiser step needs at least 1"),
        ([np.arange(3), np.array([24])], None, r"batches\[1\]: ids must be in \[0, 24\), got 24"),
        ([np.arange(3), np.arange(3.0)], None, r"batches\[1\] must be a one-dimensional int64 array"),
        ([np.arange(3)], [], "weights must hold one array per batch, 1, got 0"),
        ([np.arange(3)], [np.ones(2)], r"weights\[0\] must be float64 of its batch's shape \(3,\)"),
        ([np.arange(3)], [np.ones(3, np.float32)], "got float32 of shape"),
        ([np.arange(3)], [np.array([1, np.nan, 1])], r"weights\[0\] must be finite, got nan for example 1"),
    ],
)
def test_wrong_calls_are_refused_before_anything_changes(task, assert_same, batches, weights, message):
    learner = task.learner(optimizer=AdamW())
    before = learner.state()
    with pytest.raises(LearnerError, match=message):
        learner.train(batches, weights)
    assert_same(learner.state(), before)


def test_a_loss_without_gradient_is_refused(task):
    learner = task.learner(loss=lambda *given: tf.stop_gradient(task.loss(*given)))
    with pytest.raises(LearnerError, match="the loss has no gradient"):
        learner.train(task.batches[:1])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"score_batch_size": 0}, "score_batch_size must be a whole number of at least 1, got 0"),
        ({"seed": -1}, "seed must be a whole number of at least 0, got -1"),
        ({"clip_norm": 0.0}, "clip_norm must be above 0, got 0.0"),
        ({"optimizer": object()}, "optimizer must have apply"),
        ({"optimizer": SGD}, r"optimizer must be built, such as SGD\(1e-3\), got the class SGD"),
        ({"learning_rate": 0.1}, "learning_rate must be a function of the steps already taken, got 0.1"),
        (
            {
                "optimizer": keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.1, 5)),
                "learning_rate": lambda step: 0.1,
            },
            "learning_rate is given twice",
        ),
        ({"model": object()}, "model must have trainable_variables"),
    ],
)
def test_impossible_settings_are_named(task, settings, message):
    with pytest.raises(LearnerError, match=message):
        task.learner(**settings)


def test_sixteen_bit_parameters_need_an_optimiser_that_can(task):
    data = task.x.astype(np.float32), task.y.astype(np.float32)

    def loss(model, batch, training):
        return task.loss(model, [tf.cast(part, tf.bfloat16) for part in batch], training)

    with pytest.raises(LearnerError, match="AdamW needs float32 or float64 variables, got bfloat16"):
        task.learner(task.model(tf.bfloat16), data, loss=loss, optimizer=AdamW())
    learner = task.learner(task.model(tf.bfloat16), data, loss=loss)
    first = learner.train([np.arange(24)] * 30)
    assert first[-24:].mean() < first[:24].mean()


def test_an_embedding_trains_through_its_sparse_gradient(task):
    table = tf.Variable(np.arange(6.0).reshape(3, 2))

    class Lookup(tf.Module):
        def __init__(self):
            self.table = table

    def loss(model, batch, training):
        return tf.reduce_sum(tf.gather(model.table, batch), axis=1)

    tokens = np.array([0, 2, 2, 2])
    for optimizer in (SGD(1.0, momentum=0.0), keras.optimizers.SGD(1.0)):
        table.assign(np.arange(6.0).reshape(3, 2))
        task.learner(Lookup(), tokens, loss=loss, optimizer=optimizer, clip_norm=100.0).train([np.arange(4)])
        np.testing.assert_allclose(table.numpy(), [[-0.25, 0.75], [2, 3], [3.25, 4.25]])


@pytest.mark.parametrize("clip_norm", [None, 1e-3])
def test_an_embedding_follows_the_sum_of_what_a_row_is_told(clip_norm):
    """Squares of its single uses, which TensorFlow leaves unsummed, are not the square of the gradient."""
    table, rows = np.linspace(-1, 1, 10).reshape(5, 2), np.array([[0, 1], [1, 1], [3, 0]])
    states = []
    for looked_up in (True, False):
        model = keras.Sequential(
            [keras.layers.Input((2,), dtype="int32"), keras.layers.Embedding(5, 2, dtype="float64")]
        )
        model.set_weights([table])

        def loss(model, batch, training, looked_up=looked_up):
            weight = model.trainable_variables[0]
            found = tf.gather(weight, batch[0]) if looked_up else tf.one_hot(batch[0], 5, dtype="float64") @ weight
            return tf.reduce_sum((found - 0.5) ** 2, axis=[1, 2])

        learner = TensorFlowLearner(model, (rows,), loss, keras.optimizers.Adam(0.1), clip_norm=clip_norm)
        learner.train([np.arange(3), np.array([1])])
        states.append(learner.state())
    for name, value in states[0].items():
        np.testing.assert_allclose(value, states[1][name], rtol=1e-12, atol=1e-15)
