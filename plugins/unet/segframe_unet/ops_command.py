"""`python -m segframe ops`: the compiled concat op of this machine."""

from __future__ import annotations

import argparse


def run(argv: list[str]) -> int:
    """Say what is in use; `build` compiles and tries it again and shows the compilers' output.

    Exit code 1 if there is no compiled op: networks train all the same, with tf.concat.
    """
    parser = argparse.ArgumentParser(prog="python -m segframe ops", description=__doc__)
    parser.add_argument("action", nargs="?", choices=["build"], help="compile and try it again, with output")
    action = parser.parse_args(argv).action

    from segframe import import_tensorflow

    import_tensorflow()
    from segframe_unet import concat_build
    from segframe_unet.compiler import toolchain

    tools = toolchain()
    for name, tool in (("C++ compiler", tools.cxx), ("nvcc", tools.nvcc)):
        print(f"{name}: {f'{tool[0]} ({tool[1]})' if tool else 'not installed'}")
    found = concat_build.make(again=True) if action else concat_build.build()
    if action and found.folder:
        print((found.library().parent / "build.log").read_text(encoding="utf-8").rstrip())
    if found.problem:
        print(f"concat: tf.concat, as there is no compiled op: {found.problem}")
        return 1
    print(f"concat: {found.library()}")
    print("self-test: passed, bit for bit what tf.concat and tf.split give")
    print(f"CUDA part: {found.without_cuda or 'compiled'}")
    _table(found.ratios)
    print("In use where its time is at most TensorFlow's. Under XLA and in saved models: tf.concat.")
    return 0


def _table(ratios: dict) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="time of the compiled op / time of TensorFlow's", title_justify="left")
    for column in ("device", "dtype", "MB", "forward", "gradient"):
        table.add_column(column, justify="left" if column in ("device", "dtype") else "right")
    for device, dtypes in ratios.items():
        for dtype, passes in dtypes.items():
            for (size, forward), (_, gradient) in zip(passes["concat"], passes["split"], strict=True):
                cells = [f"{each:.2f}" if each <= 1 else f"{each:.2f} tf" for each in (forward, gradient)]
                table.add_row(device, dtype, f"{size / 1e6:.1f}", *cells)
    Console(highlight=False).print(table)
