"""segframe_uresnet.encoder_weights: files that fit, grey from colour, and files that don't."""

import logging

import h5py
import keras
import numpy as np
import pytest
from keras.src.legacy.saving import legacy_h5_format

from segframe import SegframeError
from segframe_uresnet.encoder_weights import check_file, with_weights
from segframe_uresnet.encoders import resnet

NORM = {"momentum": 0.9, "epsilon": 1e-3}


def tiny_encoder(channels, filters=4, counts=(1, 1, 1, 1), dropout=True):
    """A ResNet; with dropout its files hold a random seed that is no weight."""
    image = keras.Input((None, None, channels), name="image")
    *maps, last = resnet(image, "basic", counts, norm=NORM, filters=filters)
    if dropout:
        last = keras.layers.Dropout(0.1, name="encoder_dropout")(last)
    return keras.Model(image, [*maps, last], name="tiny")


def images(channels):
    return np.random.default_rng(0).normal(size=(2, 64, 32, channels)).astype(np.float32)


def trained(channels, **settings):
    keras.utils.set_random_seed(5)
    model = tiny_encoder(channels, **settings)
    model.compile("adam")
    model.optimizer.build(model.trainable_variables)
    model(images(channels), training=True)  # so that running means are not what they are at first
    return model


def save(model, path):
    if path.name == "legacy.h5":  # as the weights of keras.applications are published
        with h5py.File(path, "w") as file:
            legacy_h5_format.save_weights_to_hdf5_group(file, model)
    elif path.name.endswith(".weights.h5"):
        model.save_weights(path)
    else:
        model.save(path)
    return path


@pytest.mark.parametrize("name", ["a.weights.h5", "legacy.h5", "whole.h5", "whole.keras"])
def test_every_kind_of_file_gives_the_same_features(name, tmp_path, caplog):
    wanted = trained(3)
    path = save(wanted, tmp_path / name)
    with caplog.at_level(logging.INFO, logger="segframe"):
        found = with_weights(tiny_encoder, 3, check_file(str(path)))
    assert f"model.encoder_weights: {path} (sha256 " in caplog.text
    for one, other in zip(found(images(3)), wanted(images(3)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_grey_images_get_what_colour_weights_say_of_grey(tmp_path, caplog):
    wanted = trained(3)
    path = save(wanted, tmp_path / "a.weights.h5")
    with caplog.at_level(logging.INFO, logger="segframe"):
        found = with_weights(tiny_encoder, 1, path)
    assert "the three input channels of encoder_stem/kernel are summed for grey" in caplog.text
    for one, other in zip(found(images(1)), wanted(images(1).repeat(3, axis=-1)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)  # float32 sums in another order


def test_grey_weights_serve_grey_images_as_they_are(tmp_path, caplog):
    wanted = trained(1)
    with caplog.at_level(logging.INFO, logger="segframe"):
        found = with_weights(tiny_encoder, 1, save(wanted, tmp_path / "a.weights.h5"))
    assert "summed" not in caplog.text
    np.testing.assert_array_equal(found(images(1))[-1], wanted(images(1))[-1])


@pytest.mark.parametrize("channels", [2, 4])
def test_other_channels_than_the_files_are_refused(channels, tmp_path):
    path = save(trained(3), tmp_path / "a.weights.h5")
    message = rf"expected the .* of tiny for {channels} channels, .* lacks \(7, 7, {channels}, 4\)"
    with pytest.raises(SegframeError, match=message):
        with_weights(tiny_encoder, channels, path)


@pytest.mark.parametrize("name", ["a.weights.h5", "legacy.h5", "whole.keras"])
@pytest.mark.parametrize("settings", [{"counts": (1, 1, 2, 1)}, {"filters": 8}], ids=["more blocks", "wider"])
def test_another_encoders_file_is_refused(name, settings, tmp_path):
    path = save(trained(3, **settings), tmp_path / name)
    with pytest.raises(
        SegframeError, match="model.encoder_weights: expected the .* arrays of tiny .* also has"
    ):
        with_weights(tiny_encoder, 3, path)


def test_a_file_with_the_same_shapes_elsewhere_is_refused(tmp_path):
    def other(channels):
        image = keras.Input((None, None, channels))
        x = keras.layers.Conv2D(4, 1, use_bias=False)(image)
        return keras.Model(image, keras.layers.Conv2D(4, 3, use_bias=False)(x), name="other")

    def own(channels):
        image = keras.Input((None, None, channels))
        x = keras.layers.Conv2D(4, 3, use_bias=False)(image)
        return keras.Model(image, keras.layers.Conv2D(4, 1, use_bias=False)(x), name="own")

    path = save(other(4), tmp_path / "a.weights.h5")
    with pytest.raises(
        SegframeError, match="model.encoder_weights: expected weights in the order of own's layers"
    ):
        with_weights(own, 4, path)


@pytest.mark.parametrize("name", ["a.weights.h5", "whole.keras"])
def test_a_file_cut_short_is_refused(name, tmp_path):
    path = save(trained(3), tmp_path / name)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(
        SegframeError, match="model.encoder_weights: expected a file of weights that Keras wrote"
    ):
        with_weights(tiny_encoder, 3, path)


@pytest.mark.parametrize("name", ["none.h5", "weights.pth"])
def test_a_file_that_is_not_there_or_of_another_kind_is_refused(name, tmp_path):
    (tmp_path / "weights.pth").write_bytes(b"")
    with pytest.raises(SegframeError, match="model.encoder_weights: expected a file of weights .*" + name):
        check_file(str(tmp_path / name))
