"""Augmentations that bend or resize one sample, in the tf.data graph; segframe.plugins.resampling reads it.

Each is called as augment(image, target, seed) -> (image, target), as segframe_augmentations says. Stored maps
cannot follow them: distances would no longer be the distances of the mask. Keras's layers are not used: they
draw from a generator with a state, and interpolate masks and images in one way.
"""

from __future__ import annotations

import math

import tensorflow as tf

from segframe.plugins.image_transforms import Target, chosen, either, sometimes, stream
from segframe.plugins.resampling import grid, resample


class Affine:
    """Scales, turns, shears and shifts about the centre; the size stays.

        source = centre + R(angle) (1, 0; tan(shear), 1) (pixel - centre - shift) / zoom
        log zoom uniform in +-log(1 + zoom), both angles and both shifts uniform in +- their largest value

    R turns (row, column) by the angle; the shear moves columns along with the rows, as a slanted hand does.

    Args:
        zoom: no unit, at least 0: from 1 / (1 + zoom) to 1 + zoom.
        rotation_degrees: largest turn, either way.
        shear_degrees: largest slant, either way; below 90.
        shift_share: largest shift each way, of height and of width.
        probability: share of the samples that it is applied to; the others stay to the bit.
    """

    warps = True

    def __init__(
        self,
        zoom: float,
        rotation_degrees: float,
        shear_degrees: float,
        shift_share: float,
        probability: float,
    ):
        self.zoom, self.shift_share, self.probability = zoom, shift_share, probability
        self.rotation_degrees, self.shear_degrees = rotation_degrees, shear_degrees

    def __call__(self, image: tf.Tensor, target: Target, seed: tf.Tensor) -> tuple[tf.Tensor, Target]:
        seed = stream(seed, "affine")

        def applied() -> tuple[tf.Tensor, Target]:
            return resample(image, target, *self.places(tf.shape(image), seed, *grid(image)))

        return sometimes(self.probability, seed, image, target, applied)

    def places(
        self, shape: tf.Tensor, seed: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Where what belongs to these rows and columns is read from, for the seed of its own stream."""
        draws = tf.random.stateless_uniform((5,), seed, -1.0, 1.0, alg="philox")
        zoom = tf.exp(draws[0] * math.log1p(self.zoom))
        angle = draws[1] * math.radians(self.rotation_degrees)
        slant = tf.tan(draws[2] * math.radians(self.shear_degrees))
        sine, cosine = tf.sin(angle) / zoom, tf.cos(angle) / zoom
        size = tf.cast(shape[:2], tf.float32)
        centre = (size - 1) / 2
        shift = self.shift_share * draws[3:] * size
        down, right = rows - centre[0] - shift[0], columns - centre[1] - shift[1]
        right = right + slant * down
        return centre[0] + cosine * down - sine * right, centre[1] + sine * down + cosine * right


class Elastic:
    """Bends the sample smoothly: random displacements on a coarse grid, bicubic in between.

    The grid's outermost points lie on the corners of the image, with one more row around them, so that the
    interpolation needs no rule for the edge. It does not fold while std_share * (points - 1) is well below 1.

    Args:
        points: of the grid along each axis, at least 2; 3 as in the U-Net's paper.
        std_share: standard deviation of each displacement along each axis, of the shorter side; the paper's
            10 pixels of 512 are 0.02.
        probability: share of the samples that it is applied to; the others stay to the bit.

    Source:
        Simard, Steinkraus and Platt 2003, https://doi.org/10.1109/ICDAR.2003.1227801; the grid as in
        Ronneberger et al. 2015, https://arxiv.org/abs/1505.04597, section 3.1; cubic convolution by Keys
        1981, https://doi.org/10.1109/TASSP.1981.1163711.
    """

    warps = True

    def __init__(self, points: int, std_share: float, probability: float):
        self.points, self.std_share, self.probability = points, std_share, probability

    def __call__(self, image: tf.Tensor, target: Target, seed: tf.Tensor) -> tuple[tf.Tensor, Target]:
        seed = stream(seed, "elastic")

        def applied() -> tuple[tf.Tensor, Target]:
            return resample(image, target, *self.places(image, seed))

        return sometimes(self.probability, seed, image, target, applied)

    def after(self, previous: object) -> AffineElastic | None:
        """Both in one, where the other is affine (segframe_augmentations)."""
        return AffineElastic(previous, self) if isinstance(previous, Affine) else None

    def places(self, image: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Where each pixel is read from, for the seed of its own stream."""
        around = self.points + 2
        displacements = tf.random.stateless_normal((2, around, around), seed, alg="philox")
        shape = tf.shape(image)
        displacements *= self.std_share * tf.cast(tf.minimum(shape[0], shape[1]), tf.float32)
        rows, columns = grid(image)
        along_rows, along_columns = (self._weights(place[..., None]) for place in (rows[:, 0], columns[0]))
        down, right = tf.unstack(along_rows @ displacements @ tf.transpose(along_columns))
        return rows + down, columns + right

    def _weights(self, places: tf.Tensor) -> tf.Tensor:
        """(pixels, 1) -> (pixels, points + 2): cubic convolution's weight of each point for each pixel."""
        last = tf.maximum(tf.cast(tf.shape(places)[0], tf.float32) - 1, 1)
        between = 1 + places / last * (self.points - 1)
        distance = tf.abs(between - tf.range(self.points + 2, dtype=tf.float32))
        near = (1.5 * distance - 2.5) * tf.square(distance) + 1
        far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
        return tf.where(distance <= 1, near, tf.where(distance < 2, far, 0.0))


class AffineElastic:
    """Affine and then Elastic, with one interpolation where a sample gets both: two would blur it twice."""

    warps = True

    def __init__(self, affine: Affine, elastic: Elastic):
        self.affine, self.elastic = affine, elastic

    def __call__(self, image: tf.Tensor, target: Target, seed: tf.Tensor) -> tuple[tf.Tensor, Target]:
        seeds = stream(seed, "affine"), stream(seed, "elastic")

        def both() -> tuple[tf.Tensor, Target]:
            bent = self.elastic.places(image, seeds[1])
            return resample(image, target, *self.affine.places(tf.shape(image), seeds[0], *bent))

        drawn = chosen(self.affine.probability, seeds[0]) & chosen(self.elastic.probability, seeds[1])
        return either(
            drawn, both, lambda: self.elastic(*self.affine(image, target, seed), seed), image, target
        )
