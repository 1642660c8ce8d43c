"""segframe.identity."""

from segframe.identity import code_hash, differences, flatten, identity_of, run_name

CONFIG = {
    "seed": 0,
    "runs_dir": "runs",
    "run_dir": None,
    "model": {"name": "m", "depth": 4},
    "dataset": {"name": "d"},
    "tracker": {"name": "mlflow", "uri": "x"},
    "device": {"threads": None, "cache": "none"},
    "train": {"epochs": 3, "resume": "auto", "checkpoint_seconds": 1.0},
}


def changed(**changes):
    return {key: {**value, **changes.get(key, {})} if isinstance(value, dict) else changes.get(key, value)
            for key, value in CONFIG.items()}  # fmt: skip


def name(config, data="data", code="code"):
    return run_name(identity_of(config, data, code))


def test_flatten_gives_the_command_lines_keys():
    assert flatten({"a": {"b": {"c": 1}}, "d": [1, 2], "e": {}}) == {"a.b.c": 1, "d": [1, 2], "e": {}}


def test_what_does_not_change_the_result_does_not_change_the_name():
    same = changed(
        runs_dir="other", run_dir="x", tracker={"uri": "y"}, device={"threads": 3, "cache": "disk"},
        train={"resume": "never", "checkpoint_seconds": 0.0},
    )  # fmt: skip
    assert name(same) == name(CONFIG)


def test_what_changes_the_result_changes_the_name():
    names = {
        name(CONFIG), name(changed(seed=1)), name(changed(model={"depth": 3})),
        name(CONFIG, data="other"), name(CONFIG, code="other"),
    }  # fmt: skip
    assert len(names) == 5
    assert all(found.startswith("m-d-") for found in names)


def test_differences_name_the_keys_with_both_values():
    ours, theirs = identity_of(changed(model={"depth": 3}), "a", "c"), identity_of(CONFIG, "a", "c")
    assert differences(ours, theirs) == ["model.depth: 4 -> 3"]


def test_the_code_hash_is_that_of_the_files():
    assert len(code_hash()) == 64
