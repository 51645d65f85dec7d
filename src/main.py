"""The door: `python src/main.py [option=value ...]`, and `-m` with comma-separated values for a sweep.

Everything is checked before any work (`qaq.refuse`). Nothing heavy is imported for that, or for --help.
"""

import json
import logging
import secrets
import signal
import sys
import textwrap
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
CONF = HERE.parent / "conf"
EXPERIMENTS = HERE.parent / "experiments"
sys.path.insert(0, str(HERE))
GROUPS = ("data", "scorer", "signals", "selector", "target", "train", "evaluate", "tracking", "launch", "estimate", "leakage",
          "composition", "row", "debug")  # fmt: skip
STARTED: list[Path] = []  # directories of the jobs that ran in this process

HELP = """Select the code instructions worth training on, train on them, and measure the result (QAQ, XCoder).

  python src/main.py                                          everything, on the embedded data and model
  python src/main.py -m selector=ifd,rmi,stratified budget=0.1,0.25
                                                              a sweep: scores once, ends with one table
  python src/main.py data=jsonl data.path=FILE stages=[load,score,select] budget=0.25
                                                              choose from your own pairs (JSON, JSONL, gzip, Parquet)
  python src/main.py experiments=NAME [debug=tiny]            one claim of the paper, as a sweep; tiny: minutes on a CPU

Options (option=value; values and their sources are in conf/):
  stages=[load,score,select,train,evaluate]   the first one or more of these
  stages=[estimate]    what they would cost: tokens, FLOPs, hours and memory, here and on accelerators
  budget=0.25          pairs to keep: a fraction in (0, 1], or a whole number from 2
  seed=0               seed of the selection (random); data.seed and train.seeds are their own
  data.limit=N         the first N records        data.noise=0.3   spoil 30% with known labels, to grade a selector
  data.decontaminate=0.05  take out what leaks HumanEval or MBPP    data.near_duplicates=0.8  and near-copies
  data.held_out=0.1    set pairs aside, measure every model on them    evaluate.samples=0  ask nothing, measure likelihoods
  hydra.run.dir=DIR    where this run goes        store_dir=DIR    where results are kept for re-use (runs/store)
  launch=slurm|ray     score on a cluster, train on Slurm  launch.workers=N  scoring processes
  launch.ranks=N       training processes a node       launch.nodes=N, launch.hosts=[a,b]  machines for training
  launch.dry_run=true  print what scoring and training would start, and what training needs, and end there
  tracking=wandb|offline|off                      Weights & Biases; metrics.jsonl is always written

Groups (group=name):
{groups}
Experiments (experiments=NAME; claim, the paper's number, cost: experiments/NAME.yaml):
{experiments}
Every option with its value: python src/main.py --cfg job          Hydra's own flags: --hydra-help
"""


def main(argv: list[str]) -> int:
    """Exit status: 0 all jobs complete, 1 a job failed, 2 refused before any work."""
    if {"-h", "--help"} & set(argv):
        print(HELP.format(groups=_groups(), experiments=_experiments()), end="")
        return 0
    from hydra._internal.utils import get_args_parser

    from qaq import config, refuse

    config.register()
    asked = get_args_parser().parse_args(argv)
    overrides = asked.overrides
    try:
        jobs = refuse.check(overrides, asked.multirun)
    except ValueError as refusal:
        print(f"refused: {refusal}", file=sys.stderr)
        return 2
    if asked.cfg or asked.info or asked.hydra_help:
        _hydra(argv)
        return 0
    sweep = jobs is not None
    place, extra = _place(overrides, sweep)
    places = [place / str(number) for number in range(jobs)] if sweep else [place]
    for old in places:
        (old / "result.json").unlink(missing_ok=True)  # of an earlier run in the same directory
    signal.signal(signal.SIGTERM, _stop)  # as Ctrl-C: workers are ended and result.json says so
    try:
        _hydra(argv + extra)
    except KeyboardInterrupt:
        print(f"interrupted; run the same command again to go on. directory: {place}", file=sys.stderr)
        return 130
    return _finish(place, places if sweep else STARTED[:1] or [place], sweep)


def _stop(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _groups() -> str:
    rows = []
    for group in GROUPS:
        folder = CONF / group
        names = sorted(p.stem for p in folder.glob("*.yaml"))
        rows.append(f"  {folder.name:<11} {', '.join(names)}\n")
    return "".join(rows)


def _experiments() -> str:
    files = [*sorted(EXPERIMENTS.glob("*.yaml")), *sorted(EXPERIMENTS.glob("study/*.yaml"))]
    return textwrap.fill(", ".join(str(file.relative_to(EXPERIMENTS).with_suffix("")) for file in files), 100,
                         initial_indent="  ", subsequent_indent="  ")  # fmt: skip


def _place(overrides: list[str], sweep: bool) -> tuple[Path, list[str]]:
    """The directory of this run or sweep, and the override that says so, if the user did not."""
    option = "hydra.sweep.dir" if sweep else "hydra.run.dir"
    for override in overrides:
        if override.startswith(f"{option}="):
            return Path(override.partition("=")[2].strip("'\"")), []
    # A random suffix, because two runs started in one second would share a directory.
    place = Path("runs") / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    return place, [f"{option}={place}"]


def _hydra(argv: list[str]) -> None:
    import hydra

    sys.argv = [sys.argv[0], *argv]
    hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(job)()


def job(cfg) -> None:  # noqa: ANN001
    """One job. A failure is written to its result.json and told in a line; a sweep goes on with the next job."""
    from hydra.core.hydra_config import HydraConfig

    from qaq import config, launch, pipeline
    from qaq.store import canonical

    hydra = HydraConfig.get()
    run_dir = Path(hydra.runtime.output_dir)
    settings = canonical(config.plain(cfg))
    swept = hydra.mode.name == "MULTIRUN"
    group = run_dir.parent.name if swept else run_dir.name
    STARTED.append(run_dir)
    logging.info("directory: %s", run_dir)
    try:
        pipeline.run(settings, run_dir, group, list(hydra.overrides.task), _asked(hydra) if swept else [])
    except (ValueError, OSError, launch.WorkerFailed) as error:  # what a user can do something about
        logging.error("%s", error)
    except Exception:
        logging.exception("this should not have happened")


def _asked(hydra) -> list[str]:  # noqa: ANN001
    """The sweep's overrides, in its YAML and, which count more, on the command line."""
    from hydra._internal.utils import get_args_parser

    named = [f"{name}={values}" for name, values in (hydra.sweeper.params or {}).items()]
    return [*named, *get_args_parser().parse_args(sys.argv[1:]).overrides]


def _finish(place: Path, jobs: list[Path], sweep: bool) -> int:
    """The last words: tables, then the directory."""
    from qaq import report

    results = [json.loads((job / "result.json").read_text()) for job in jobs if (job / "result.json").is_file()]
    if sweep:
        print(report.table("sweep", report.SWEEP_COLUMNS, report.sweep_rows(jobs)))
    elif results:
        print(report.summary(results[0]))
    print(f"\ndirectory: {place if sweep else jobs[0]}")
    return 0 if len(results) == len(jobs) and all(r["status"] in ("complete", "dry run") for r in results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
