"""segframe.gpus: what nvidia-smi lists, as far as CUDA_VISIBLE_DEVICES allows it."""

import pytest

from segframe import gpus
from segframe.gpus import Gpu, visible_gpus

SAID = "0, GPU-aa1, NVIDIA H100 80GB HBM3, 81559\n1, GPU-bb2, NVIDIA A100-SXM4-40GB, 40960\n"
FIRST, SECOND = Gpu("GPU-aa1", "NVIDIA H100 80GB HBM3", 81559), Gpu("GPU-bb2", "NVIDIA A100-SXM4-40GB", 40960)


@pytest.fixture
def two_gpus(tmp_path, monkeypatch):
    """A program in nvidia-smi's place, since the tests' machines have none."""
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\ncat <<'E'\n{SAID}E\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.setattr(gpus, "_can_use_gpus", lambda: True)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_all_are_listed_by_names_that_do_not_depend_on_cudas_order(two_gpus):
    assert visible_gpus() == [FIRST, SECOND]


@pytest.mark.parametrize(
    "visible, expected",
    [
        ("1,0", [SECOND._replace(name="1"), FIRST._replace(name="0")]),
        ("GPU-bb", [SECOND._replace(name="GPU-bb")]),
        ("0,7,1", [FIRST._replace(name="0")]),
        ("", []),
        ("-1", []),
    ],
)
def test_the_variable_chooses_as_it_does_for_cuda(two_gpus, monkeypatch, visible, expected):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert visible_gpus() == expected


def test_there_is_none_without_the_program_or_with_tensorflows_cpu_build(two_gpus, monkeypatch):
    monkeypatch.setattr(gpus, "_can_use_gpus", lambda: False)
    assert visible_gpus() == []
    monkeypatch.setattr(gpus, "_can_use_gpus", lambda: True)
    monkeypatch.setenv("PATH", "/nowhere")
    assert visible_gpus() == []
