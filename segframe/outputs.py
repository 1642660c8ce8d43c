"""Models with several outputs (deep supervision): all are trained, the first one is the prediction."""

from __future__ import annotations

import math
from typing import Any

import keras

from segframe.errors import SegframeError


def output_weights(model: keras.Model, where: str = "model") -> tuple[float, ...]:
    """The weight of each output's loss: the model's attribute `output_weights`, or (1.0,) for one output.

    Args:
        where: who made the model, for the error.

    Raises:
        SegframeError: the model has several outputs and no such attribute, or not a number above 0 for each.
    """
    count = len(getattr(model, "outputs", None) or (None,))
    given = getattr(model, "output_weights", None)
    if given is None and count == 1:
        return (1.0,)
    if not (isinstance(given, tuple | list) and len(given) == count and all(map(_is_weight, given))):
        raise SegframeError(
            where,
            expected=f"an attribute output_weights with a number above 0 for each of its {count} outputs",
            got="none" if given is None else repr(given),
            remedy="Its plugin has to set it: see segframe_models in segframe/hooks.py.",
        )
    return tuple(float(weight) for weight in given)


def check_outputs(
    model: keras.Model, where: str, *, image_shape: tuple[int, int, int], num_classes: int
) -> None:
    """Check the outputs of a model that has several, before it is trained.

    Raises:
        SegframeError: an output has another size than the image or another number of channels than classes
            (one will do for two classes), or output_weights is wrong.
    """
    if len(output_weights(model, where)) == 1:
        return
    size = 4 * getattr(model, "size_multiple", 1)
    image = keras.KerasTensor((1, size, size, image_shape[2]), dtype="float32")
    allowed = [num_classes, 1] if num_classes == 2 else [num_classes]
    for number, output in enumerate(keras.tree.flatten(model.compute_output_spec(image))):
        if tuple(output.shape[:3]) != (1, size, size) or output.shape[3] not in allowed:
            raise SegframeError(
                f"{where}, output {number} ({model.output_names[number]})",
                expected=f"(1, {size}, {size}, {' or '.join(map(str, allowed))}) for an image of this size",
                got=str(tuple(output.shape)),
                remedy="Its plugin has to enlarge every output to the image's size.",
            )


def predictor(model: keras.Model) -> keras.Model:
    """The model up to its first output, sharing the weights; a model with one output is its own."""
    if len(getattr(model, "outputs", None) or (None,)) == 1:
        return model
    return keras.Model(model.input, model.outputs[0], name=model.name)


def first(outputs: Any) -> Any:
    """What a predictor returned, also where the model was made with a list of one output."""
    return keras.tree.flatten(outputs)[0]


def _is_weight(weight: Any) -> bool:
    return isinstance(weight, int | float) and not isinstance(weight, bool) and 0 < weight < math.inf
