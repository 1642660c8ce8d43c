"""`python -m segframe ops`: the compiled operations of this machine."""

from __future__ import annotations

import argparse


def run(argv: list[str]) -> int:
    """Say what is in use; `build` compiles and tries it again and shows the compilers' output.

    Exit code 1 if there are none: networks train all the same, with TensorFlow's.
    """
    parser = argparse.ArgumentParser(prog="python -m segframe ops", description=__doc__)
    parser.add_argument("action", nargs="?", choices=["build"], help="compile and try it again, with output")
    action = parser.parse_args(argv).action

    from segframe import import_tensorflow

    import_tensorflow()
    from segframe_unet import conv, ops_build
    from segframe_unet.compiler import toolchain

    tools = toolchain()
    for name, tool in (("C++ compiler", tools.cxx), ("nvcc", tools.nvcc)):
        print(f"{name}: {f'{tool[0]} ({tool[1]})' if tool else 'not installed'}")
    found = ops_build.make(again=True) if action else ops_build.build()
    if action and found.folder:
        print((found.library().parent / "build.log").read_text(encoding="utf-8").rstrip())
    if found.problem:
        print(f"concat, convolution: TensorFlow's, as there is no compiled one: {found.problem}")
        return 1
    print(f"compiled: {found.library()}")
    print("self-test: passed; concat bit for bit what tf.concat and tf.split give, convolution to rounding")
    print(f"CUDA part: {found.without_cuda or 'compiled'}")
    _concat_table(found.ratios)
    print("Concat is in use where its time is at most TensorFlow's.")
    _conv_table(found.conv)
    for kind, name in conv.NAMES.items():
        mean = conv.mean_ratio(found, kind)
        print(
            f"{name}: {'in use on CPUs' if mean <= 1 else 'not in use'}, as its geometric mean is {mean:.2f}."
        )
    print("Under XLA, on GPUs (but for concat) and in saved models: TensorFlow's.")
    return 0


def _concat_table(ratios: dict) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="concat: time of the compiled op / time of TensorFlow's", title_justify="left")
    for column in ("device", "dtype", "MB", "forward", "gradient"):
        table.add_column(column, justify="left" if column in ("device", "dtype") else "right")
    for device, dtypes in ratios.items():
        for dtype, passes in dtypes.items():
            for (size, forward), (_, gradient) in zip(passes["concat"], passes["split"], strict=True):
                cells = [f"{each:.2f}" if each <= 1 else f"{each:.2f} tf" for each in (forward, gradient)]
                table.add_row(device, dtype, f"{size / 1e6:.1f}", *cells)
    Console(highlight=False).print(table)


def _conv_table(measured: dict) -> None:
    from rich.console import Console
    from rich.table import Table

    from segframe_unet import conv

    title = f"3x3 convolution, float32, {measured['code']}: time of the compiled op / TensorFlow's"
    table = Table(title=title, title_justify="left")
    for column in ("operation", "maps", "forward", "to images", "to filters"):
        table.add_column(column, justify="left" if column == "operation" else "right")
    for kind, name in conv.NAMES.items():
        for (*maps, filters), *ratios in measured[kind]:
            cells = [f"{'x'.join(map(str, maps))} -> {filters}", *(f"{each:.2f}" for each in ratios)]
            table.add_row(name, *cells)
    Console(highlight=False).print(table)
