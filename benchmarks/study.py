"""Studies: a grid of data sets, recipes and seeds, each run in a process of its own, several at once.

    python benchmarks/study.py losses --data DIR --out losses.json            3 losses, 3 sets, 3 seeds
    python benchmarks/study.py upsampling --data DIR --out upsampling.json    4 ways up, 2 sets, 3 seeds
    python benchmarks/study.py cars --data DIR --out cars.json                the slides' table
    python benchmarks/study.py all --data DIR --out all.json --jobs 8 --gpus 2 --deadline 420 --stop 540
    python benchmarks/study.py losses --out losses.json --report              the tables, as markdown

DIR holds membrane.h5, cars.h5, camvid.h5. The JSON is written anew after each run that ended. A study goes on
where it was when the same command is given again: what stands in the JSON is not run again, a run that was
cut off continues from its checkpoint. All runs of seed 0 come first, so that a study that is cut short still
compares. A run that fails is reported with the end of its log and does not stop the others.

Several runs share a GPU (segframe takes its memory as it needs it), so times are not those of a run alone.
Six at once fit into the 80 GB of an H100 with XLA, the default there, and did not without it.
The networks use TensorFlow's concat (SEGFRAME_OPS=off): the trial of the compiled one would not be quiet.

--overrides model.filters=2 train.epochs=1 optimizer.schedule.warmup_steps=0 rehearses; losses:train.epochs=9,
membrane:train.batch_size=4 and upsampling-cars:seed=5 are words for some runs only.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from pathlib import Path

from study_grids import ALL, GRIDS, Job, queue
from study_queue import Queue
from study_report import report
from study_results import Study

CHECKERBOARD = Path(__file__).with_name("checkerboard.py")


def main() -> int:
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # the runs save and leave first
    if arguments.report:
        print(report(json.loads(arguments.out.read_text(encoding="utf-8"))))
        return 0
    os.environ.setdefault("SEGFRAME_OPS", "off")
    work = (arguments.work or arguments.out.with_suffix(".runs")).resolve()
    work.mkdir(parents=True, exist_ok=True)
    study = Study(arguments.out, "python benchmarks/study.py " + " ".join(_without_folders(sys.argv[1:])))
    jobs = queue(arguments.grids, arguments.seeds, arguments.overrides, arguments.only)
    todo = [job for job in jobs if not study.has(job)]
    print(f"{len(jobs)} runs, {len(jobs) - len(todo)} of them done; {arguments.jobs} at once; {work}")
    threads = max(1, len(os.sched_getaffinity(0)) // arguments.jobs)

    def commands(job: Job) -> list[list[str]]:
        data, folder = arguments.data.resolve() / f"{job.data}.h5", work / job.name
        words = [
            *job.words, f"dataset.path='{data}'", f"seed={job.seed}", f"run_dir='{folder}'", "tracker=none",
            f"device.threads={threads}", "train.checkpoint_seconds=30",
        ]  # fmt: skip
        found = [[sys.executable, "-m", "segframe", *words]]
        if job.checkerboard:
            out = ["--out", f"{folder}.checkerboard.json", "--picture", f"{folder}.npz"]
            found.append([sys.executable, str(CHECKERBOARD), str(folder), str(data), *out])
        return found

    def done(job: Job, seconds: float, failed: str) -> None:
        if not failed:
            try:
                study.add(job, work / job.name, seconds)
            except Exception as error:  # a folder that is not as it should be is no reason to stop the others
                failed = f"{work / job.name}: {type(error).__name__}: {error}"
        if failed:
            study.fail(job, failed)
        study.write(jobs)
        print(f"{'FAILED' if failed else 'done'} {job.name} {seconds:.0f} s\n{failed}".rstrip(), flush=True)

    slots = Queue(
        commands,
        work,
        slots=arguments.jobs,
        gpus=arguments.gpus,
        deadline=arguments.deadline,
        stop=arguments.stop,
    )
    left = slots.run(todo, done)
    study.write(jobs)
    print(report(study.content))
    if left:
        print(f"{len(left)} runs are left: the same command goes on with them.")
    return 1 if study.content["failed"] else 0


def _without_folders(words: list[str]) -> list[str]:
    """The command for the record: paths of one machine say nothing on another."""
    return [Path(word).name if os.sep in word and "=" not in word else word for word in words]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("grids", nargs="+", choices=[*GRIDS, "all"], help=f"all is {', '.join(ALL)}")
    add("--data", type=Path, default=Path("."), help="the folder of the HDF5 files")
    add("--out", type=Path, required=True, help="the JSON")
    add("--work", type=Path, help="the folder of runs and logs; OUT.runs unless given")
    add("--seeds", type=int, default=3)
    add("--jobs", type=int, default=1, help="runs at once")
    add("--gpus", type=int, default=0, help="deal the runs to so many GPUs; 0: as the environment says")
    add("--deadline", type=float, help="seconds after which no run is started")
    add("--stop", type=float, help="seconds after which running ones save and leave, to go on later")
    add("--only", default="", help="runs whose name has this in it")
    add("--overrides", nargs="*", default=[], help="words of the command line; PREFIX:word for some runs")
    add("--report", action="store_true", help="print the tables of OUT and run nothing")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
