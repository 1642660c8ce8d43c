"""segframe.errors."""

import pickle

from segframe.errors import SegframeError, nearest


def test_the_message_has_all_four_parts():
    error = SegframeError("model.depth", expected="at least 1", got="0", remedy="Raise it.")
    assert str(error) == "model.depth: expected at least 1, got 0.\n  Raise it."


def test_it_crosses_processes():
    error = pickle.loads(pickle.dumps(SegframeError("a", expected="b", got="c", remedy="d")))
    assert (error.subject, error.expected, error.got, error.remedy) == ("a", "b", "c", "d")


def test_nearest_names_the_near_one_or_all():
    assert nearest("adm", ["adam", "sgd"]) == "Did you mean 'adam'?"
    assert nearest("zzz", ["sgd", "adam"]) == "There is: adam, sgd."
    assert nearest("zzz", []) == "There is: none."
