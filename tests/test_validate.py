"""segframe.validate: paths and words of its errors."""

from typing import Literal

import pytest
from typing_extensions import TypedDict

from segframe.errors import SegframeError
from segframe.validate import validate


class Inner(TypedDict):
    __pydantic_config__ = {"extra": "forbid"}  # type: ignore[misc]
    steps: int
    rates: list[float]


@pytest.mark.parametrize(
    "annotation, value, message",
    [
        (int, 1.5, "where: expected a valid integer, got 1.5"),
        (int | None, "x", "where: expected a valid integer, got 'x'"),
        (int | Literal["auto"], "x", "where: expected a valid integer; or 'auto', got 'x'"),
        (list[float], [1.0, "x"], "where.1: expected a valid number, got 'x'"),
        (Inner, {"steps": "x", "rates": []}, "where.steps: expected a valid integer, got 'x'"),
        (Inner, {"steps": 1, "rates": [1, None]}, "where.rates.1: expected a valid number, got None"),
        (Inner, {"steps": 1}, "where.rates: expected field required, got none"),
        (Inner, {"steps": 1, "rates": [], "rate": 1}, "where.rate: .*\n  Did you mean 'rates'"),
    ],
)
def test_the_path_leads_to_the_wrong_part(annotation, value, message):
    with pytest.raises(SegframeError, match=message):
        validate(annotation, value, "where")


def test_integers_count_as_floats_and_booleans_as_neither():
    assert validate(float, 3, "where") == 3.0
    for annotation in (int, float):
        with pytest.raises(SegframeError):
            validate(annotation, True, "where")
