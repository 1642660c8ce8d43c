"""The space of a search as read from the command line, and how its values are written there again."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from hydra_plugins.segframe_optuna.space import read_space
from segframe.errors import SegframeError

optuna = pytest.importorskip("optuna", reason="pip install -e '.[optuna]'")


def space_of(*words):
    return read_space(OverridesParser.create().parse_overrides(list(words)))


def word_of(word, value):
    (part,) = space_of(word)[0].values()
    return part.word(value)


@pytest.mark.parametrize(
    "word, distribution",
    [
        ("a=interval(0,1)", optuna.distributions.FloatDistribution(0, 1)),
        ("a=tag(log, interval(1e-5,1e-1))", optuna.distributions.FloatDistribution(1e-5, 1e-1, log=True)),
        ("a=int(interval(2,9))", optuna.distributions.IntDistribution(2, 9)),
        ("a=tag(log, int(interval(2,64)))", optuna.distributions.IntDistribution(2, 64, log=True)),
        ("a=range(1,10,3)", optuna.distributions.IntDistribution(1, 7, step=3)),
        ("a=range(7,0,-3)", optuna.distributions.IntDistribution(1, 7, step=3)),
        ("a=range(5)", optuna.distributions.IntDistribution(0, 4)),
        ("a=range(0.1,0.5,0.1)", optuna.distributions.IntDistribution(0, 3)),  # places: see Steps
        ("a=choice(x,y)", optuna.distributions.CategoricalDistribution(("x", "y"))),
        ("a=1,2,null", optuna.distributions.CategoricalDistribution(("1", "2", "null"))),
    ],
)
def test_hydras_words_are_what_optuna_samples(word, distribution):
    (part,) = space_of(word)[0].values()
    assert part.distribution() == distribution


@pytest.mark.parametrize(
    "word, value, text",
    [
        ("a=interval(0,1)", 1e-5, "1e-05"),
        ("a=int(interval(2,9))", 4, "4"),
        ("a=range(0.1,0.5,0.1)", 2, "0.3"),
        ("a=choice([1,2],{b:'c d'})", "{b:'c d'}", "{b:'c d'}"),
    ],
)
def test_a_value_becomes_the_word_that_hydra_reads_back(word, value, text):
    assert word_of(word, value) == text
    (again,) = OverridesParser.create().parse_overrides([f"a={text}"])
    assert again.get_value_element_as_str() == text


def test_what_is_fixed_is_kept_as_it_was_written_and_the_last_word_counts():
    space, fixed = space_of("a=1,2", "b='x y'", "+c=2", "~d", "a=interval(0,1)", "e=1,2", "e=3")
    assert list(space) == ["a"] and type(space["a"]).__name__ == "Interval"
    assert fixed == ["b='x y'", "+c=2", "~d", "e=3"]


@pytest.mark.parametrize(
    "word, message",
    [
        ("a=1", "hydra/sweeper=optuna: expected a key to search over, got fixed values only"),
        ("a=interval(2,1)", r"a: expected an interval from a smaller to a larger number, got \(2.0, 1.0\)"),
        ("a=interval(1,inf)", "a: expected an interval"),
        ("a=interval(nan,1)", "a: expected an interval"),
        ("a=tag(log, interval(0,1))", "a: expected a logarithmic interval above 0"),
        ("a=tag(lgo, interval(1,2))", "(?s)a: expected the tag log .* got lgo.*Did you mean 'log'"),
        ("a=tag(log, choice(1,2))", "a: expected log with an interval"),
        ("a=shuffle(1,2)", r"a: expected values without an order, got shuffle\(\)"),
        ("a=range(3,3)", "a: expected a range with values"),
        ("hydra.sweeper.n_trials=1,2", "hydra.sweeper.n_trials: expected a key of a run"),
    ],
)
def test_a_space_without_sense_is_refused(word, message):
    with pytest.raises(SegframeError, match=message):
        space_of(word)
