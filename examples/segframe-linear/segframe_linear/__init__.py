"""The smallest network: a pixel's logits are a linear function of its neighbourhood. A baseline."""

from __future__ import annotations

from segframe import SegframeError, hookimpl


@hookimpl
def segframe_models():
    return {"linear": build_linear}


def build_linear(*, image_shape: tuple[int, int, int], num_classes: int, kernel: int = 7):
    """`kernel` is the side of the neighbourhood in pixels, odd."""
    if kernel < 1 or kernel % 2 == 0:
        raise SegframeError(
            "model.kernel", expected="an odd number, 1 or more", got=str(kernel), remedy="Use model.kernel=7."
        )
    import keras

    image = keras.Input((None, None, image_shape[2]), name="image")
    logits = keras.layers.Conv2D(num_classes, kernel, padding="same", dtype="float32", name="logits")(image)
    return keras.Model(image, logits)
