"""segframe.pipeline: the same batches for a seed, padded by edges, resumable in mid-epoch."""

import itertools
import subprocess
import sys
import time
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import tensorflow as tf
from scipy.ndimage import distance_transform_edt

from segframe import batch_stream
from segframe.batch import pad_edges, target_of
from segframe.dataset import IGNORED, Sample
from segframe.errors import SegframeError
from segframe.patches import Patches
from segframe.pipeline import Pipeline
from segframe.plugins import hdf5_blocks, hdf5_dataset, hdf5_stored
from segframe.plugins.hdf5 import open_hdf5
from segframe.sample_cache import cached
from segframe.split import Part


def dataset(sizes):
    random = np.random.default_rng(5)
    samples = [
        Sample(
            random.integers(256, size=(*size, 2), dtype=np.uint8),
            random.integers(3, size=size, dtype=np.uint8),
        )
        for size in sizes
    ]
    largest = tuple(max(size[axis] for size in sizes) for axis in (0, 1))
    return SimpleNamespace(
        image_shape=(*largest, 2), read=lambda split, indices: [samples[i] for i in indices], samples=samples
    )


def pipeline(sizes, **settings):
    data = dataset(sizes)
    part = Part("train", tuple(range(len(sizes))), tuple(f"s{i}" for i in range(len(sizes))))
    return data, Pipeline(data, {"train": part}, **{"batch_size": 2, "seed": 3, **settings})


SIZES = [(13, 21), (8, 8), (1, 1), (16, 5), (7, 30)]


def numpy(batches):
    return [{key: value.numpy() for key, value in batch.items()} for batch in batches]


def test_images_are_continued_by_their_edges_and_masks_by_ignored():
    data, batches = pipeline(SIZES, size_multiple=4)
    for batch in numpy(batches.evaluate("train")):
        for row, position in enumerate(batch["index"]):
            image, mask = data.samples[position]
            height, width = mask.shape
            more = (batch["mask"].shape[1] - height, batch["mask"].shape[2] - width)
            expected = np.pad(image, ((0, more[0]), (0, more[1]), (0, 0)), mode="edge")
            np.testing.assert_array_equal(batch["image"][row], expected)
            assert batch["image"].dtype == np.uint8
            expected = np.pad(mask, ((0, more[0]), (0, more[1])), constant_values=IGNORED)
            np.testing.assert_array_equal(batch["mask"][row], expected)
            assert tuple(batch["size"][row]) == (height, width)
        sizes = [SIZES[position] for position in batch["index"]]
        for axis in (0, 1):
            assert batch["mask"].shape[1 + axis] == -(-max(size[axis] for size in sizes) // 4) * 4


def test_every_sample_comes_once_an_epoch_in_an_order_of_seed_and_epoch():
    _, batches = pipeline(SIZES)

    def order(epoch):
        return [int(i) for batch in numpy(batches.train(epoch)) for i in batch["index"]]

    assert sorted(order(0)) == list(range(5))
    assert order(0) == order(0)
    assert len({tuple(order(epoch)) for epoch in range(6)}) > 1
    assert order(0) != [int(i) for b in numpy(pipeline(SIZES, seed=4)[1].train(0)) for i in b["index"]]


def test_an_epoch_continued_at_a_step_gives_the_rest_of_it():
    def shift(image, target, seed):
        return image + tf.random.stateless_uniform((), seed), target

    _, batches = pipeline([(8, 8)] * 5, augmentations=[shift])
    whole, rest = numpy(batches.train(2)), numpy(batches.train(2, start_step=1))
    assert len(whole) == 3 and len(rest) == 2
    for one, other in zip(whole[1:], rest, strict=True):
        for key in one:
            np.testing.assert_array_equal(one[key], other[key])


def test_full_batches_go_on_through_the_passes_and_begin_at_any_step():
    """Five samples at batch 2: the third batch is of the first pass and of the second."""

    def shift(image, target, seed):
        return image + tf.random.stateless_uniform((), seed), target

    _, batches = pipeline([(8, 8)] * 5, augmentations=[shift])
    orders = np.concatenate([batches.order(number) for number in range(3)])
    whole = numpy(itertools.islice(batches.full_batches(), 7))
    assert [tuple(batch["index"]) for batch in whole] == [tuple(orders[i : i + 2]) for i in range(0, 14, 2)]
    for start in (1, 2, 3, 5):
        rest = numpy(itertools.islice(batches.full_batches(start), 7 - start))
        for found, expected in zip(rest, whole[start:], strict=True):
            for key in expected:
                np.testing.assert_array_equal(found[key], expected[key])
    for found, expected in zip(
        numpy(batches.train(0))[:2], whole, strict=False
    ):  # and one pass looks the same
        np.testing.assert_array_equal(found["image"], expected["image"])


def test_augmentations_get_scaled_floats_and_their_own_seeds():
    seen = []

    def look(image, target, seed):
        seen.append(image.dtype)
        return image + tf.cast(seed[0], tf.float32), target

    data, batches = pipeline([(8, 8)] * 4, batch_size=4, augmentations=[look, look])
    (first,), (second,) = numpy(batches.train(0)), numpy(batches.train(1))
    assert set(seen) == {tf.float32} and first["image"].dtype == np.float32
    added = first["image"][0] - data.samples[first["index"][0]].image / np.float32(255)
    assert np.ptp(added) < 1e3  # one number (of the size of 1e9) for the whole image
    assert not np.array_equal(np.sort(first["image"].ravel()), np.sort(second["image"].ravel()))


def test_what_only_moves_pixels_is_given_them_as_they_are_stored():
    """And the values in the end are those that scaled floats would have, bit for bit."""
    seen = []

    def moving(first):
        def move(image, target, seed):
            seen.append((image.dtype, target["mask"].dtype))
            return image[:, ::-1], {name: entry[:, ::-1] for name, entry in target.items()}

        move.moves_only = first
        return move

    def batches(*moves):
        seen.clear()
        _, made = pipeline([(8, 8)] * 4, batch_size=4, augmentations=[moving(first) for first in moves])
        (batch,) = numpy(made.train(0))
        image = batch["image"] if made.scaled else batch["image"].astype(np.float32) * np.float32(1 / 255)
        return list(dict.fromkeys(seen)), batch["image"].dtype, image.tobytes(), batch["mask"].tobytes()

    stored, scaled = (tf.uint8, tf.uint8), (tf.float32, tf.int32)
    kinds, dtype, *raw = batches(True, True)
    assert (kinds, dtype) == ([stored], np.uint8)
    assert batches(True, False) == ([stored, scaled], np.float32, *raw)
    # The second of these could take them as they are stored, but comes behind one that needs floats.
    assert batches(False, True) == ([scaled], np.float32, *raw)


@pytest.mark.parametrize("multiple", [1, 2, 16])
def test_padding_works_in_a_compiled_graph_with_unknown_sizes(multiple):
    spec = {
        "image": tf.TensorSpec((None, None, None, 1), tf.float32),
        "mask": tf.TensorSpec((None, None, None), tf.int32),
        "size": tf.TensorSpec((None, 2), tf.int32),
    }
    padded = tf.function(lambda batch: pad_edges(batch, multiple), input_signature=[spec])
    found = padded({"image": tf.ones((2, 3, 5, 1)), "mask": tf.zeros((2, 3, 5), tf.int32),
                    "size": tf.constant([[3, 5], [3, 5]])})  # fmt: skip
    assert found["image"].shape == (2, -(-3 // multiple) * multiple, -(-5 // multiple) * multiple, 1)
    assert (found["image"].numpy() == 1).all()


@pytest.mark.parametrize("augmented", [False, True])
def test_samples_of_another_dtype_than_promised_are_refused(augmented):
    data, batches = pipeline([(8, 8)] * 4, augmentations=[lambda *sample: sample[:2]] * augmented)
    data.samples[2] = data.samples[2]._replace(mask=data.samples[2].mask.astype(np.int64))
    data.samples[:] = [data.samples[2]] * 4
    with pytest.raises(SegframeError, match=r"samples of train: .*masks .* uint8, got .*int64"):
        numpy(batches.train(0))


class Position:
    """A maker of another dtype and padding: of each pixel 1000 row + column, and its class."""

    channels = 2

    def __init__(self, dtype, padding):
        self.dtype, self.padding = dtype, padding

    def make(self, mask):
        rows, columns = np.indices(mask.shape)
        return np.stack([1000 * rows + columns, mask], axis=-1).astype(self.dtype)


def test_maps_are_moved_and_padded_with_their_masks():
    def mirror(image, target, seed):
        assert set(target) == {"mask", "near", "far"}
        coin = seed[0] % 2 == 0
        return image, {
            name: tf.cond(coin, lambda x=x: x[:, ::-1], lambda x=x: x) for name, x in target.items()
        }

    makers = {"near": Position("uint16", 65535), "far": Position("float32", np.inf)}
    data, batches = pipeline(SIZES, size_multiple=4, augmentations=[mirror], maps=makers)
    mirrored = 0
    for batch in [*numpy(batches.train(0)), *numpy(batches.evaluate("train"))]:
        assert set(target_of(batch)) == {"mask", "near", "far"}
        for row, position in enumerate(batch["index"]):
            height, width = SIZES[position]
            back = batch["mask"][row, 0, 0] != data.samples[position].mask[0, 0]
            back |= width > 1 and batch["near"][row, 0, 0, 0] != 0
            mirrored += back
            for name, maker in makers.items():
                found = batch[name][row]
                assert found.shape == (*batch["mask"].shape[1:], 2) and found.dtype == maker.dtype
                expected = maker.make(data.samples[position].mask)[:, :: -1 if back else 1]
                np.testing.assert_array_equal(found[:height, :width], expected)
                assert (found[height:] == maker.padding).all() and (found[:, width:] == maker.padding).all()
    assert 0 < mirrored < 5


MIXED = [(40, 61), (8, 8), (1, 1), (16, 5), (7, 90)]


def patches(per_image):
    return Patches(size=(16, 24), per_image=per_image, foreground_share=0.33, overlap=0.25, classes=(1, 2))


class Places:
    """A maker of (row, column, distance to class 1) of each pixel of the whole image."""

    channels, dtype, padding = 3, "float32", -1.0

    def make(self, mask):
        distance = distance_transform_edt(mask != 1)
        return np.stack([*np.indices(mask.shape), distance], axis=-1).astype(np.float32)


def test_batches_are_patches_of_one_size_with_maps_of_the_whole_image_and_ignored_padding():
    data, batches = pipeline(
        MIXED, batch_size=4, size_multiple=8, maps={"whole": Places()}, patches=patches(3)
    )
    assert batches.full_size == (16, 24) and batches.steps("train") == 4 and batches.pass_length == 15
    seen = []
    for batch in numpy(batches.train(1)):
        assert batch["image"].shape[1:] == (16, 24, 2) and batch["mask"].shape[1:] == (16, 24)
        for row, position in enumerate(batch["index"]):
            sample = data.samples[position]
            height, width = batch["size"][row]
            assert (height, width) == (min(16, MIXED[position][0]), min(24, MIXED[position][1]))
            whole = Places().make(sample.mask)
            top, left = batch["whole"][row, 0, 0, :2].astype(int)
            window = np.s_[top : top + height, left : left + width]
            np.testing.assert_array_equal(batch["whole"][row, :height, :width], whole[window])
            np.testing.assert_array_equal(batch["mask"][row, :height, :width], sample.mask[window])
            more = ((0, 16 - height), (0, 24 - width))
            expected = np.pad(sample.image[window], (*more, (0, 0)), mode="edge")
            np.testing.assert_array_equal(batch["image"][row], expected)
            for name, padding in (("mask", IGNORED), ("whole", -1)):
                assert (batch[name][row, height:] == padding).all()
                assert (batch[name][row, :, width:] == padding).all()
            seen.append((int(position), int(top), int(left)))
    positions = [position for position, *_ in seen]
    assert sorted(positions) == sorted([*range(5)] * 3)
    assert positions != sorted(positions)
    assert len({one for one in seen if one[0] == 0}) == 3  # three different places of the large image


def test_patches_of_images_that_are_read_whole_count_as_those():
    """In what is read ahead: each thread holds a whole image while it cuts a patch of it."""
    data, batches = pipeline([(8, 8)] * 4, patches=patches(1))
    data.image_shape = (20_000, 20_000, 2)
    assert batches._ahead(batches.patches) == 2
    data.windowed = lambda split, index: (20_000, 20_000)
    data.read_window = lambda split, index, window: None
    assert batches._ahead(batches.patches) > 2


def test_epochs_have_other_patches_and_a_seed_the_same():
    _, batches = pipeline([(90, 90)] * 2, patches=patches(4))
    first, again, other = (numpy(batches.train(epoch)) for epoch in (0, 0, 1))
    for one, same in zip(first, again, strict=True):
        np.testing.assert_array_equal(one["image"], same["image"])
    images = {batch["image"][row].tobytes() for batch in [*first, *other] for row in range(2)}
    assert len(images) == 16


@pytest.mark.parametrize("full", [False, True], ids=["epochs", "full batches"])
def test_patches_go_on_from_any_step(full):
    def shift(image, target, seed):
        return image + tf.random.stateless_uniform((), seed), target

    _, batches = pipeline(MIXED, augmentations=[shift], patches=patches(3))

    def some(start, count):
        stream = batches.full_batches(start) if full else batches.stream(0, start)
        return numpy(itertools.islice(stream, count))

    whole = some(0, 11)  # 15 patches an epoch, two a step
    for start in (1, 7):
        for one, other in zip(some(start, 11 - start), whole[start:], strict=True):
            for key in one:
                np.testing.assert_array_equal(one[key], other[key])


def test_what_is_evaluated_is_whole():
    data, batches = pipeline(MIXED, patches=patches(1))
    for batch in numpy(batches.evaluate("train")):
        for row, position in enumerate(batch["index"]):
            height, width = MIXED[position]
            np.testing.assert_array_equal(batch["mask"][row, :height, :width], data.samples[position].mask)


@pytest.fixture
def chunked(tmp_path, own_cache, monkeypatch):
    """A file of 26 samples in chunks of 4, of which two are a window."""
    for module in (hdf5_blocks, hdf5_dataset):
        monkeypatch.setattr(module, "WINDOW_BYTES", 2 * 4 * 6 * 5 * 4)
    random = np.random.default_rng(0)
    with h5py.File(tmp_path / "chunked.h5", "w") as file:
        file.attrs["class_names"] = ["background", "a", "b"]
        images = random.integers(256, size=(26, 6, 5, 3), dtype=np.uint8)
        masks = random.integers(3, size=(26, 6, 5), dtype=np.uint8)
        file.create_dataset("train/images", data=images, chunks=(4, 6, 5, 3), compression="gzip")
        file.create_dataset("train/masks", data=masks, chunks=(4, 6, 5), compression="lzf")
    return tmp_path / "chunked.h5", images, masks


@pytest.mark.parametrize("augmented", [False, True])
def test_batches_are_the_same_with_any_number_of_threads_any_cache_and_from_any_step(
    chunked, monkeypatch, augmented
):
    """Samples arrive late at random; the order is by windows of chunks."""
    path, images, masks = chunked

    def shift(image, target, seed):
        return image + tf.random.stateless_uniform((), seed), target

    def batches(threads, cache, start=0, count=10):
        monkeypatch.setattr(tf.data, "AUTOTUNE", threads)
        monkeypatch.setattr(batch_stream, "_threads", lambda: threads)
        data = open_hdf5(path=str(path))
        delays = np.random.default_rng(threads)
        if threads > 1:
            stored = data._stored

            def late(*words, **options):
                time.sleep(delays.random() * 0.002)
                return stored(*words, **options)

            monkeypatch.setattr(data, "_stored", late)
        ids = tuple(data.ids("train"))
        part = {"train": Part("train", tuple(range(len(ids))), ids)}
        batched = Pipeline(
            cached(data, part, cache), part, batch_size=4, seed=3, augmentations=[shift] * augmented
        )
        assert batched.steps("train") == 7
        epoch, step = divmod(start, 7)
        return numpy(itertools.islice(batched.stream(epoch, step), count - start))

    expected = batches(1, "none")
    seen = np.concatenate([batch["index"] for batch in expected[:7]])
    assert sorted(seen) == list(range(26)) and len(set(seen[:8] // 4)) <= 2
    ways = [(4, "none", 0), (2, "none", 3), (4, "memory", 5), (1, "disk", 6), (4, "disk", 8)]
    for threads, cache, start in ways:
        found = batches(threads, cache, start)
        assert len(found) == 10 - start
        for one, other in zip(found, expected[start:], strict=True):
            for key in other:
                np.testing.assert_array_equal(one[key], other[key])
    for batch in expected:
        np.testing.assert_array_equal(batch["mask"], masks[batch["index"]])
        assert batch["mask"].dtype == np.uint8
        if not augmented:
            np.testing.assert_array_equal(batch["image"], images[batch["index"]])


def test_each_chunk_is_decoded_once_in_a_pass_however_many_threads_read(tmp_path, monkeypatch):
    random = np.random.default_rng(0)
    images = random.integers(256, size=(240, 6, 5, 3), dtype=np.uint8)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.attrs["class_names"] = ["background", "cell"]
        file.create_dataset("train/images", data=images, chunks=(4, 6, 5, 3), compression="gzip")
        masks = random.integers(2, size=(240, 6, 5), dtype=np.uint8)
        file.create_dataset("train/masks", data=masks, chunks=(4, 6, 5), compression="gzip")
    window = 5 * 4 * 6 * 5 * 4  # bytes of 20 samples
    for module in (hdf5_blocks, hdf5_dataset):
        monkeypatch.setattr(module, "WINDOW_BYTES", window)
    monkeypatch.setattr(batch_stream, "_threads", lambda: 8)
    data, decoded = open_hdf5(path=str(tmp_path / "x.h5")), []
    part = {"train": Part("train", tuple(range(240)), tuple(data.ids("train")))}
    batched = Pipeline(data, part, batch_size=5, seed=0)
    assert batched._ahead(None) == 4
    data._blocks = hdf5_blocks.Blocks(2 * window)
    read = hdf5_stored.StoredArray.read
    monkeypatch.setattr(
        hdf5_stored.StoredArray, "read", lambda *words, **named: decoded.append(1) or read(*words, **named)
    )
    seen = [int(i) for batch in itertools.islice(batched.stream(0), 3 * 48) for i in batch["index"].numpy()]
    assert sorted(seen) == sorted([*range(240)] * 3)
    # What the window before still holds is not decoded, where a pass begins with it.
    assert 3 * 120 - 2 * 10 * 2 <= len(decoded) <= 1.1 * (3 * 120 + 20)


@pytest.mark.parametrize("augmentations", [(), (lambda image, target, seed: (image, target),)], ids=len)
@pytest.mark.parametrize("where", ["images", "masks"])
def test_a_fault_met_while_reading_is_told_as_it_is(chunked, where, augmentations):
    path = chunked[0]
    data = open_hdf5(path=str(path))
    part = {"train": Part("train", tuple(range(26)), tuple(data.ids("train")))}
    batched = Pipeline(data, part, batch_size=4, seed=0, augmentations=augmentations)
    data._blocks = hdf5_blocks.Blocks()
    with h5py.File(path, "r") as file:
        offset = file["train"][where].id.get_chunk_info(2).byte_offset
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(b"\xff" * 40)
    with pytest.raises(
        SegframeError, match=f"chunked.h5, /train/{where}, train sample 'train/.*': expected a chunk of"
    ):
        numpy(batched.train(0) if augmentations else batched.evaluate("train"))


@pytest.mark.slow
@pytest.mark.parametrize("augmentations", ["()", "(build_flip(),)"])
def test_python_ends_while_a_stream_is_read(tmp_path, augmentations):
    """Its threads wait for Python's lock then, and who destroyed the stream waited for them."""
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.attrs["class_names"] = ["background", "cell"]
        images = np.random.default_rng(0).integers(64, size=(60, 512, 512, 1), dtype=np.uint8)
        for name, values in (("images", images), ("masks", images[..., 0] % 2)):
            options = {"chunks": (1, *values.shape[1:]), "compression": "gzip"}
            file.create_dataset(f"train/{name}", data=values, **options)
    code = f"""
import sys
from segframe.pipeline import Pipeline
from segframe.plugins.augmentations import build_flip
from segframe.plugins.hdf5 import open_hdf5
from segframe.split import Part
data = open_hdf5(path=sys.argv[1])
part = {{"train": Part("train", tuple(range(60)), tuple(data.ids("train")))}}
stream = Pipeline(data, part, batch_size=8, seed=0, augmentations={augmentations}).stream(0)
next(stream)
"""
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", code, tmp_path / "x.h5"], capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr


def test_augmentations_run_side_by_side_where_tensorflow_is_deterministic():
    """As train.determinism=strict has it: tf.data then does nothing in parallel that has a state."""
    code = """
import threading
import numpy as np
import tensorflow as tf
from types import SimpleNamespace
from segframe.dataset import Sample
from segframe.pipeline import Pipeline
from segframe.split import Part
tf.config.threading.set_inter_op_parallelism_threads(4)
tf.keras.utils.set_random_seed(0)
tf.config.experimental.enable_op_determinism()
both = threading.Barrier(2, timeout=60)  # broken if one at a time comes to it
def wait(image):
    both.wait()
    return image
def augment(image, target, seed):
    return tf.ensure_shape(tf.numpy_function(wait, [image], tf.float32, stateful=False), image.shape), target
sample = Sample(np.zeros((4, 4, 1), np.uint8), np.zeros((4, 4), np.uint8))
data = SimpleNamespace(image_shape=(4, 4, 1), read=lambda split, indices: [sample for _ in indices])
part = {"train": Part("train", tuple(range(8)), tuple("abcdefgh"))}
stream = Pipeline(data, part, batch_size=4, seed=0, augmentations=[augment]).stream(0)
print([next(stream)["image"].shape[0] for _ in range(4)], flush=True)
import os
os._exit(0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.stdout == "[4, 4, 4, 4]\n", done.stderr
