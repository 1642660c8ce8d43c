"""segframe.sum_order: TensorFlow adds in one order, whatever the threads do meanwhile."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from graph_sums import large_sums

from segframe.experiment import run_experiment
from segframe.load_model import load_model
from segframe.normalisation import Normalisation
from segframe.step import Steps
from segframe.sum_order import gradients, keep_sums, total


def three_ways(x):
    return tf.reduce_sum(tf.sin(x) + tf.exp(x) + x * x)


def test_a_gradient_that_comes_three_ways_is_a_chain_where_a_tapes_is_one_sum():
    x = tf.Variable([[0.5, -2.0]])

    def by_tape():
        with tf.GradientTape() as tape:
            y = three_ways(tf.identity(x))
        return tape.gradient(y, x)

    def ours():
        return gradients(three_ways(tf.identity(x)), [x])[0]

    found = [tf.function(way).get_concrete_function() for way in (by_tape, ours)]
    assert [len(large_sums(each.graph)) for each in found] == [1, 0]
    expected = np.cos(x) + np.exp(x) + 2 * x.numpy()
    for each in found:
        np.testing.assert_allclose(each(), expected, rtol=1e-6)


def test_a_weight_that_nothing_depends_on_has_none():
    used, unused = tf.Variable(2.0), tf.Variable(3.0)
    found = []

    @tf.function
    def graph():
        found.extend(gradients(used * used, [used, unused]))
        return found[0]

    assert graph() == 4.0 and found[1] is None


def test_the_total_is_that_from_the_first_to_the_last():
    assert total([tf.constant(1e8), tf.constant(-1e8), tf.constant(1.0)]) == 1.0
    assert total([tf.constant(1.0), tf.constant(1e8), tf.constant(-1e8)]) == 0.0


def test_a_step_sums_penalties_and_outputs_in_chains_too():
    image = keras.Input((None, None, 1))
    convs = [keras.layers.Conv2D(2, 1, kernel_regularizer="l2")(image) for _ in range(4)]
    model = keras.Model(image, convs)
    model.output_weights = (1.0, 0.5, 0.25, 0.25)
    optimizer = keras.optimizers.SGD(1.0)
    optimizer.build(model.trainable_variables)
    steps = Steps(
        model, lambda target, logits: tf.reduce_mean(logits, axis=(1, 2, 3)), optimizer,
        Normalisation(scale=1.0, mean=(0.0,), std=(1.0,)), num_classes=2, scaled=False, xla=False,
    )  # fmt: skip
    inputs = tf.TensorSpec((1, 4, 4, 1)), {"mask": tf.TensorSpec((1, 4, 4), tf.uint8)}
    graph = tf.function(steps._train, autograph=False).get_concrete_function(*inputs).graph
    assert large_sums(graph) == []
    assert sum(node.op == "AddN" for node in graph.as_graph_def().node) > 0  # a kernel's two gradients


@pytest.fixture
def joining():
    """TensorFlow joins chains, as in a new process; whether it does is the test's to change."""
    tf.config.optimizer.set_experimental_options({"arithmetic_optimization": True})
    yield lambda: tf.config.optimizer.get_experimental_options()["arithmetic_optimization"]
    keep_sums()


def test_in_a_run_and_with_a_loaded_model_tensorflow_does_not_join_the_chains_again(plugins, config, joining):
    result = run_experiment(plugins, config("train.epochs=1"))
    assert joining() is False
    tf.config.optimizer.set_experimental_options({"arithmetic_optimization": True})
    load_model(result.out_dir, plugins)
    assert joining() is False


@pytest.mark.slow
@pytest.mark.bundled
def test_a_run_ends_on_the_same_weights_each_time(tmp_path):
    """With maps so large that threads are done in another order each time."""
    words = ["model=resnet_unet", "dataset.size=256", "dataset.samples_train=24", "dataset.samples_val=2",
             "dataset.samples_test=2", "train.epochs=1", "train.batch_size=4", "device.threads=2",
             "train.resume=never", "tracker=none"]  # fmt: skip
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-m", "segframe", *words], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    records = [json.loads(path.read_text()) for path in tmp_path.glob("runs/*/record.json")]
    assert len(records) == 3 and len({record["weights_sha256"] for record in records}) == 1
