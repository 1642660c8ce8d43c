"""segframe.custom_ops: layers hear in which graphs operations of their own may stand."""

import keras
import pytest
import tensorflow as tf

from segframe import custom_ops_allowed, tell_operation
from segframe.custom_ops import custom_ops
from segframe.export import save_model
from segframe.normalisation import Normalisation
from segframe.step import Steps


class Asks(keras.layers.Layer):
    """Writes down what it is told each time it is traced."""

    def __init__(self, answers):
        super().__init__()
        self.tell, self.conv = answers.append, keras.layers.Conv2D(2, 1)

    def call(self, images):
        self.tell(custom_ops_allowed())
        return self.conv(images)


def test_what_is_told_of_operations_belongs_to_the_graphs_that_are_made_meanwhile():
    tell_operation("convolution", "nobody listens")
    with custom_ops(True) as outer:
        with custom_ops(False) as inner:
            tell_operation("convolution", "TensorFlow")
        tell_operation("convolution", "compiled")
    assert outer == {"convolution": "compiled"} and inner == {"convolution": "TensorFlow"}


@pytest.fixture
def answers():
    return []


@pytest.fixture
def model(answers):
    image = keras.Input((None, None, 1))
    model = keras.Model(image, Asks(answers)(image))
    answers.clear()
    return model


@pytest.mark.parametrize("xla, expected", [(False, True), (True, False)], ids=["graph", "xla"])
def test_they_may_stand_in_a_runs_steps_but_not_under_xla(model, answers, xla, expected):
    def loss(target, logits):
        return tf.reduce_mean(logits, axis=(1, 2, 3))

    optimizer = keras.optimizers.SGD()
    optimizer.build(model.trainable_variables)
    normalisation = Normalisation(scale=1.0, mean=(0.0,), std=(1.0,))
    steps = Steps(model, loss, optimizer, normalisation, num_classes=2, scaled=False, xla=xla)
    image, mask = tf.ones((1, 5, 3, 1)), tf.zeros((1, 5, 3), tf.int32)
    for step in (steps.train, steps.evaluate):
        answers.clear()
        step(image, {"mask": mask})
        assert answers and set(answers) == {expected}
    assert not custom_ops_allowed()


def test_they_may_not_stand_in_a_saved_model(model, answers, tmp_path):
    with custom_ops(True):  # wherever it is saved from
        save_model(tmp_path / "saved", model, Normalisation(scale=1.0, mean=(0.0,), std=(1.0,)),
                   num_classes=2, channels=1)  # fmt: skip
    assert answers and not any(answers)
