"""Optimizers of Keras, each with gradient clipping and a learning-rate schedule."""

from __future__ import annotations

from segframe.errors import SegframeError
from segframe.hooks import hookimpl
from segframe.plugins import ranges
from segframe.plugins.schedule_section import CONSTANT, ScheduleSection, check_schedule, learning_rate_of


@hookimpl
def segframe_optimizers():
    return {"adam": build_adam, "adamw": build_adamw, "rmsprop": build_rmsprop, "sgd": build_sgd}


def build_adam(
    *,
    total_steps: int,
    learning_rate: float = 3e-4,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-7,
    clip_norm: float | None = None,
    clip_value: float | None = None,
    schedule: ScheduleSection = CONSTANT,
):
    """Adam, Kingma and Ba 2015, https://arxiv.org/abs/1412.6980, section 2's form (epsilon hat)."""
    _check(total_steps, learning_rate, clip_norm, clip_value, schedule)
    _check_moments(beta_1, beta_2, epsilon)
    import keras

    return keras.optimizers.Adam(
        learning_rate_of(total_steps, learning_rate, schedule),
        beta_1=beta_1,
        beta_2=beta_2,
        epsilon=epsilon,
        global_clipnorm=clip_norm,
        clipvalue=clip_value,
    )


def build_adamw(
    *,
    total_steps: int,
    learning_rate: float = 3e-4,
    weight_decay: float = 1e-2,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-7,
    clip_norm: float | None = None,
    clip_value: float | None = None,
    schedule: ScheduleSection = CONSTANT,
):
    """Adam with decoupled weight decay, Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101.

    Each step first takes learning_rate * weight_decay of every weight, biases included.
    """
    _check(total_steps, learning_rate, clip_norm, clip_value, schedule)
    _check_moments(beta_1, beta_2, epsilon)
    ranges.at_least_zero("optimizer.weight_decay", weight_decay)
    import keras

    return keras.optimizers.AdamW(
        learning_rate_of(total_steps, learning_rate, schedule),
        weight_decay=weight_decay,
        beta_1=beta_1,
        beta_2=beta_2,
        epsilon=epsilon,
        global_clipnorm=clip_norm,
        clipvalue=clip_value,
    )


def build_rmsprop(
    *,
    total_steps: int,
    learning_rate: float = 3e-4,
    rho: float = 0.9,
    momentum: float = 0.0,
    epsilon: float = 1e-7,
    centered: bool = False,
    clip_norm: float | None = None,
    clip_value: float | None = None,
    schedule: ScheduleSection = CONSTANT,
):
    """RMSprop, Tieleman and Hinton 2012, lecture 6.5; `centered` as in https://arxiv.org/abs/1308.0850."""
    _check(total_steps, learning_rate, clip_norm, clip_value, schedule)
    ranges.below_one("optimizer.rho", rho)
    ranges.below_one("optimizer.momentum", momentum)
    ranges.above_zero("optimizer.epsilon", epsilon)
    import keras

    return keras.optimizers.RMSprop(
        learning_rate_of(total_steps, learning_rate, schedule),
        rho=rho,
        momentum=momentum,
        epsilon=epsilon,
        centered=centered,
        global_clipnorm=clip_norm,
        clipvalue=clip_value,
    )


def build_sgd(
    *,
    total_steps: int,
    learning_rate: float = 1e-2,
    momentum: float = 0.9,
    nesterov: bool = False,
    clip_norm: float | None = None,
    clip_value: float | None = None,
    schedule: ScheduleSection = CONSTANT,
):
    """Stochastic gradient descent with momentum; v <- momentum v - learning_rate g, weights + v."""
    _check(total_steps, learning_rate, clip_norm, clip_value, schedule)
    ranges.below_one("optimizer.momentum", momentum)
    if nesterov and not momentum:
        raise SegframeError(
            "optimizer.nesterov",
            expected="false where optimizer.momentum is 0",
            got="true",
            remedy="Give optimizer.momentum=0.9.",
        )
    import keras

    return keras.optimizers.SGD(
        learning_rate_of(total_steps, learning_rate, schedule),
        momentum=momentum,
        nesterov=nesterov,
        global_clipnorm=clip_norm,
        clipvalue=clip_value,
    )


def _check(
    total_steps: int,
    learning_rate: float,
    clip_norm: float | None,
    clip_value: float | None,
    schedule: ScheduleSection,
) -> None:
    ranges.above_zero("optimizer.learning_rate", learning_rate)
    for key, limit in (("clip_norm", clip_norm), ("clip_value", clip_value)):
        if limit is not None:
            ranges.above_zero(f"optimizer.{key}", limit)
    if clip_norm is not None and clip_value is not None:
        raise SegframeError(
            "optimizer.clip_value",
            expected="null where optimizer.clip_norm is given",
            got=repr(clip_value),
            remedy="Give one of the two.",
        )
    check_schedule(total_steps, schedule)


def _check_moments(beta_1: float, beta_2: float, epsilon: float) -> None:
    ranges.below_one("optimizer.beta_1", beta_1)
    ranges.below_one("optimizer.beta_2", beta_2)
    ranges.above_zero("optimizer.epsilon", epsilon)
