"""The hooks that a segframe plugin can implement: the whole contract, in one file.

A plugin is a module with functions of these names, each marked with @hookimpl, found through the entry
point group "segframe". A function may leave out arguments that it does not use. plugins/README.md walks
from an empty folder to the first run.

A builder is a function with keyword arguments. The config section's `name` picks it; the section's other
keys are its arguments, checked against its signature and annotations before anything heavy is imported.
What the core knows (image shape, number of classes) is handed in besides. So that names, signatures and
errors are there in a moment, import TensorFlow inside builders, not at a plugin's top.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    import keras

    from segframe.dataset import Dataset
    from segframe.experiment import Run, RunResult
    from segframe.tracker import Tracker

hookspec = pluggy.HookspecMarker("segframe")
hookimpl = pluggy.HookimplMarker("segframe")

# ---------------------------------------------------------------------------
# What there is to choose from. Each hook returns {name: builder}.
# ---------------------------------------------------------------------------


@hookspec
def segframe_datasets() -> Mapping[str, Callable[..., Dataset]]:
    """Data sets, for `dataset.name`. Called as build(**section) -> segframe.dataset.Dataset."""


@hookspec
def segframe_models() -> Mapping[str, Callable[..., keras.Model]]:
    """Networks, for `model.name`.

    Called as build(image_shape=(height, width, channels), num_classes=int, **section). The model maps
    images (batch, height, width, channels) float32, normalised, to logits (batch, height, width,
    num_classes) float32, softmax not applied. With two classes it may return one sigmoid logit z as
    (batch, height, width, 1): the core expands it to [0, z]. Height and width may be any multiple of its
    attribute `size_multiple` (1 if it has none); the core pads to it and crops back.

    For deep supervision a functional model may have several outputs: model.outputs = [logits, further ones],
    all of the shape and dtype above, at full size. Its attribute `output_weights` is then a tuple of numbers
    above 0, one for each. It is trained on sum_k w_k loss(target, logits_k) / sum_k w_k of each image, and
    that is the train/loss which is reported. Everything else, validation loss, scores, predictions and the
    exported model, takes the first output and computes no other.

    An argument whose name ends in `_weights` and that may be a path names weights to start from:
    segframe.load_model gives None for it, since the run's own replace them.
    """


@hookspec
def segframe_losses() -> Mapping[str, Callable[..., Any]]:
    """Losses, for `loss.name`.

    Called as build(num_classes=int, ignore_index=int, spacing=(row, column) in mm or None, **section).
    The loss is called as loss(target, logits): target["mask"] is (batch, height, width) int32 class ids,
    ignore_index where nothing is known; logits is (batch, height, width, num_classes) float32. It returns
    (batch,) float32, the mean over the valid pixels of each image, 0 for an image without any. Value and
    gradient are finite at logits of +-1e4.

    A builder that names an argument `class_pixels` gets a function without arguments that counts when it is
    called: (samples, num_classes) int64, valid pixels of each class in each training sample. A loss made of
    others names an argument `terms`: the section's {label: {name, weight, ...}} arrives there as {label:
    (weight, loss)}, the weight a number or {"start", "end", "epochs"} (segframe/terms.py). A loss with a
    method begin_epoch(epoch) is told of each epoch, counted from 0, before its first step.

    A loss's attribute `maps` (none by default) names the maps of segframe_maps that it needs: they arrive as
    target[name], (batch, height, width, channels) in the maker's dtype, moved and padded with the mask. A
    builder that names an argument `warped: bool = False` is told whether an augmentation of the run warps:
    no stored map can follow then, and a loss that still asks for one is an error.
    """


@hookspec
def segframe_maps() -> Mapping[str, Callable[..., Any]]:
    """Makers of maps of a mask, for the losses that ask for them by name (their attribute `maps`).

    Called as build(num_classes=int, ignore_index=int, spacing=(row, column) in mm or None) -> a maker:
    make(mask) turns (height, width) uint8 class ids, ignore_index where nothing is known, into (height,
    width, channels), the same for the same mask, in any thread. Its attributes: `channels`, int; `dtype`,
    "uint16" or "float32"; `padding`, the value of padded pixels; `version`, a string that differs wherever
    a value may differ: the algorithm's version and what else the values depend on. Maps are made once and
    kept in the user's cache folder (segframe/map_store.py). They are made without TensorFlow.
    """


@hookspec
def segframe_optimizers() -> Mapping[str, Callable[..., keras.optimizers.Optimizer]]:
    """Optimizers, for `optimizer.name`.

    Called as build(total_steps=int, **section) -> keras.optimizers.Optimizer, its schedule included.
    """


@hookspec
def segframe_augmentations() -> Mapping[str, Callable[..., Any]]:
    """Augmentations, for each entry of `augment`, applied in the order of the config.

    Called as build(**section). The result is called as augment(image, target, seed) -> (image, target)
    inside the tf.data graph: image (height, width, channels) float32 in [0, 1], before normalisation;
    target["mask"] (height, width) int32; seed (2,) int32, made from the run's seed, the sample and the
    epoch, for tf.random.stateless_*. Its attribute `warps` is True where stored maps cannot follow. The
    size stays; pixels of the mask may become unknown (255). A method after(previous), if there is one,
    returns one augmentation in place of the one before it in the config and of itself, or None.

    An attribute `moves_only` that is True says that it moves pixels and makes no new values. Where all
    before it say so as well, it is given image and mask as they are stored, raw in their own dtypes (uint8
    or float32; uint8), and what leaves the last of them is scaled afterwards: the same values, faster.
    """


@hookspec
def segframe_metrics() -> Mapping[str, Callable[..., Any]]:
    """Metrics beside pixel accuracy, IoU and Dice, for each entry of `metrics`.

    Called as build(num_classes=int, ignore_index=int, spacing=(row, column) in mm or None, **section). The
    metric is called for each image, in its own size, as metric(mask, prediction) -> {name: score}: mask
    (height, width) uint8 class ids with ignore_index where nothing is known, prediction (height, width)
    uint8 class ids, both NumPy arrays that it does not write to. A score is a float or, for each class,
    (num_classes,) floats; of the latter the core makes NAME/CLASS, and NAME as the mean over the foreground.

    A score is finite, or nan where it is undefined, and then left out of every mean. A class that is in
    neither mask nor prediction is undefined. One that is in one of the two has the worst score there can be
    for that image (a distance: the image's diagonal, not infinity and not nan): what was not found must
    not vanish from the mean. Ignored pixels count nowhere.

    Its attributes: `larger_is_better`, {name: bool}, has the names of all its scores; `contract`, a dict
    for JSON, says what they mean and is stored with the result, {name: unit} in it as "units".

    Requested metrics are computed once the training is over, of the chosen weights, for val and for test
    (val/NAME, test/NAME); not after each epoch, as they may take longer than the epoch. They are part of
    the config, so a run that is asked for another metric is another run.
    """


@hookspec
def segframe_trackers() -> Mapping[str, Callable[..., Tracker]]:
    """Trackers, for `tracker.name`. Called as build(**section) -> segframe.tracker.Tracker."""


@hookspec
def segframe_commands() -> Mapping[str, tuple[str, Callable[[list[str]], int]]]:
    """Verbs of the command line: {verb: (one-line help, run)}.

    A verb is a bare first word: `python -m segframe VERB ...`. run(argv) gets the words after it and
    returns the exit code. Names are listed without running anything: import inside run.
    """


# ---------------------------------------------------------------------------
# What happens during a run.
# ---------------------------------------------------------------------------


@hookspec
def segframe_callbacks(run: Run) -> list[Any]:
    """Callbacks of this run: objects with any of these methods.

    on_step(step, logs): after each weight update; logs has "loss", that of training: of all outputs, and
    with the weight penalties of layers. step counts from 0 over the whole run.
    on_epoch(epoch, logs): after an epoch's validation, logs has all its numbers. epoch counts from 0. Where
    the epoch was scored, on val or on test, the model is as it was scored: with the average of the weights,
    and batch normalisation's statistics taken anew, if the config asks for them.
    close(): at the end of the training, however it ends.
    state() and restore(state): what it must remember, as JSON; a callback with state is part of the
    checkpoint, so that a resumed run goes on as if it had never stopped.
    """


@hookspec(firstresult=True)
def segframe_fit(run: Run) -> RunResult | None:
    """Train `run.model`, score it, and return the result.

    segframe.plugins.fit does it unless a plugin returns a result first, which then has to see to
    `run.metrics.steps.average` and `run.metrics.steps.norm_statistics` itself before it scores. To act before
    and after it (open a profiler, free a device), wrap it: @hookimpl(wrapper=True), one `yield`, return what
    it gave.
    """
