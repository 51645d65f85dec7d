"""What is misspelt or out of range is refused before any work, with the nearest right name and the list."""

import subprocess
import sys

import pytest
from conftest import ROOT

from qaq import config, refuse

config.register()


@pytest.mark.parametrize(("overrides", "message"), [
    (["selector=idf"], r"unknown 'selector=idf': did you mean 'ifd'\? known: disagreement, full, ifd"),
    (["experiments=disagrement"], r"unknown 'experiments=disagrement': did you mean 'disagreement'\? known: bins, budget_curve"),
    (["experiments=main,bins"], "an experiment is a sweep of its own"),
    (["experiments=main"], "data.path has no value yet: add data.path="),
    (["experiments=main", "data.path=x", "row=randm"], "unknown 'row=randm': did you mean 'random_25'"),
    (["experiments=main", "data.path=x", "row=full,randm"], "unknown 'row=randm': did you mean 'random_25'"),
    (["experiments=main", "data.path=x", "bugdet=0.1"], "did you mean 'budget'"),
    (["bugdet=0.1"], r"unknown 'bugdet': did you mean 'budget'\? known: .*budget"),
    (["scorer.dtyp=float32"], r"did you mean 'scorer.dtype'\? known: scorer.name"),
    (["selector.lowe=0.1"], r"did you mean 'selector.low'\? known: selector.name, selector.low"),
    (["+extra=1"], "unknown 'extra'"),
    (["++data.extra=1"], "unknown 'data.extra'"),
    (["~budget"], "cannot be removed"),
    (["scorer.dtype=bf16"], r"expected one of \[float32, bfloat16, float16\]"),
    (["data.limit=few"], "Value 'few'.*data.limit"),
    (["evaluate.benchmark=humanevl"], "unknown benchmark 'humanevl': did you mean 'humaneval'"),
    (["scorer.passes=[foward]"], "did you mean 'forward'"),
    (["train.scheduler=cosin"], r"expected one of \[cosine, linear"),
    (["train.dtype=float16"], "would need loss scaling"),
    (["launch.device=gpu"], "give auto, cpu, cuda"),
    (["launch.device=cuda:1", "launch.ranks=2"], "is one GPU for launch.ranks=2"),
    (["launch.ranks=8", "train.batch_size=4"], "train.batch_size=4 over 8 ranks .* at most 4 ranks"),
    (["train=lora", "train/deepspeed=zero3"], "train.adapter with train/deepspeed=zero3"),
    (["train/deepspeed=zero2", "train.deepspeed.zero_optimization.stage=7"], "zero_optimization.stage, 0 to 3"),
    (["train.seeds=[-1]"], r"train.seeds=\[-1\]: numpy takes whole numbers from 0"),
    (["train.weight_decay=-1"], r"train.weight_decay=-1.0: must lie in \[0, 1\]"),
    (["train.max_grad_norm=-1"], "train.max_grad_norm=-1.0: give a number above 0"),
    (["train=lora", "train.adapter.dropout=1.5"], r"train.adapter.dropout=1.5: must lie in \[0, 1\]"),
    (["selector=xcoder", "signals.unit_tests.workers=0"], "signals.unit_tests.workers=0: must be above 0"),
    (["selector=xcoder", "signals.unit_tests.batch_size=0"], "signals.unit_tests.batch_size=0: must be above 0"),
    (["selector=xcoder", "signals.unit_tests.temperature=-1"], "signals.unit_tests.temperature=-1.0: must lie in"),
    (["selector=xcoder", "signals.complexity.tokens_per_batch=0"], "signals.complexity.tokens_per_batch=0: .* or null"),
    (["selector=xcoder", "signals.complexity.prompt=rate"], "holds 0 times {query}, it has to once: 'rate'"),
    (["selector=xcoder", "signals.unit_tests.prompt=test"], "does not hold {answer}, what the tests are for: 'test'"),
    (["selector=xcoder", "signals.complexity.digits=[]"], r"signals.complexity.digits=\[\]: give two or more"),
    (["selector=xcoder", "signals.complexity.weights=[1,2]"], "6 digits and 2 weights"),
    (["data.noise_kinds=[swaped]"], "give some of swapped"),
    (["scorer.reverse_instruction='{answer}{answer}'"], "exactly once"),
    (["selector=disagreement", "scorer=embedded_pair", "selector.strata=0"], "selector.strata=0: at least 1 bin"),
    (["selector=rmi", "budget=0.75"], "starts at selector.low=0.5 has no room for it; at most 0.5"),
    (["train=paper", "budget=0.1"], "share"),
    (["scorer=local", "scorer.model.path=/nowhere"], "'/nowhere' is not a directory"),
    (["budget=nan"], "budget=nan"),
    (["budget=inf"], "budget=inf"),
    (["data.path=a,b.jsonl"], "quote a value that holds a comma"),
    (["data.path=a=b.jsonl"], "is quoted twice"),
    (["selector.low=abc"], "selector: .*'abc'"),
    (["selector.low=1.5"], r"selector.low=1.5: the band starts at a share in \[0, 1\)"),
    (["budget=0"], r"budget=0: give a fraction in \(0, 1\]"),
    (["budget=7.5"], "or a whole number"),
    (["budget=lots"], "budget='lots'"),
    (["stages=[estimate,score]"], r"stages=\['estimate', 'score'\]: .* or \[estimate\] alone"),
    (["stages=[load,estimate]"], r"or \[estimate\] alone"),
    (["estimate.flops_share=0"], r"estimate.flops_share=0.0: must lie in \[0.01, 1\]"),
    (["estimate.seconds=0"], "estimate.seconds=0.0: must be above 0"),
    (["stages=[score]"], r"stages=\['score'\]: give the first one or more of"),
    (["data.near_duplicates=0"], r"data.near_duplicates=0.0: give a similarity in \(0, 1\], or null"),
    (["data.decontaminate=1.5"], r"data.decontaminate=1.5: give a similarity in \(0, 1\], or null"),
    (["leakage.threshold=-0.1"], r"leakage.threshold=-0.1: give a similarity in \(0, 1\]$"),
    (["leakage.text=question"], r"expected one of \[query, answer, pair\]"),
    (["leakage.benchmarks=[humanevl]"], "leakage.benchmarks holds 'humanevl'; known: humaneval, mbpp"),
    (["leakage.benchmarks=[mbpp,mbpp]"], "name each once"),
    (["leakage.mbpp=/nowhere"], r"leakage.mbpp=/nowhere is not a file: give the .jsonl or .jsonl.gz of MBPP\+"),
    (["data.noise=1.5"], r"data.noise=1.5: must lie in \[0, 1\]"),
    (["evaluate.limit=0"], "evaluate.limit=0: give a whole number"),
    (["scorer.tokens_per_batch=0"], "tokens_per_batch=0: give a whole number"),
    (["launch.workers=0"], "must be above 0"),
    (["scorer.reverse_instruction=Guess"], r"must hold \{answer\}"),
    (["scorer=local"], "scorer.model.path has no value yet"),
    (["data=jsonl"], "data.path"),
    (["scorer.model.id=a/b"], "set exactly one of scorer.model.id"),
    (["selector=disagreement"], "compares two scorers .* add scorer=embedded_pair or scorer=paper"),
    (["selector=rmi,ifd"], "several values: put -m before it"),
    (["budget"], "missing EQUAL"),
])  # fmt: skip
def test_refused_with_a_way_out(overrides, message):
    with pytest.raises(ValueError, match=message):
        refuse.check(overrides, sweep=False)


def test_every_job_of_a_sweep_is_checked_first():
    with pytest.raises(ValueError, match="budget=7.5"):
        refuse.check(["selector=ifd,rmi", "budget=0.1,7.5"], sweep=True)
    with pytest.raises(ValueError, match="unknown 'selector=rni': did you mean 'rmi'"):
        refuse.check(["selector=ifd,rni"], sweep=True)


@pytest.mark.parametrize("overrides", [
    [], ["selector=ifd,rmi,stratified", "budget=0.1,0.25"], ["budget=500"], ["selector=random", "budget=1"], ["debug=tiny"],
    ["scorer=paper", "selector=disagreement", "selector.kind=sum_low"], ["selector.max_ifd=null", "selector=ifd"],
    ["train=paper", "target=deepseek_coder_67b_base"], ["model@scorer.model=qwen25_coder_15b_instruct"],
    ["data=jsonl", "data.path=x.json"], ["hydra.run.dir=elsewhere"], ["stages=[load,score]", "tracking=off"],
    ["stages=[estimate]", "estimate.seconds=5"],
])  # fmt: skip
def test_what_is_right_passes(overrides):
    refuse.check(overrides, sweep=True)


# What a file leaves for the user to say.
NEEDS = {"scorer=local": ["scorer.model.path=."], "target=local": ["target.path=."], "data=jsonl": ["data.path=x"],
         "data=warriorcoder": ["data.path=x"],
         "data=hub": ["data.id=a/b"], "launch=slurm": ["launch.partition=x", "launch.dry_run=true"],
         "launch=ray": ["launch.dry_run=true"],
         "selector=disagreement": ["scorer=embedded_pair"],
         **{key: ["+model@signals.scar.model=local", "signals.scar.model.path=."] for key in ("selector=scar", "row=scar_25")},
         **{key: ["signals.rds.queries.path=x"] for key in ("selector=rds", "row=rds_25")},
         **{f"row={row}": ["scorer=embedded_pair"] for row in ("diff_high", "diff_low", "sum_high", "sum_low")}}  # fmt: skip
# Read with what the sweep's first job trains on all pairs.
OF_A_SWEEP = {"scorer=tuned": ["selector=full", "scorer=embedded,tuned"],
              "scorer=tuned_weak": ["selector=full", "scorer=embedded_pair,tuned_weak"]}  # fmt: skip
GROUPS = ("data", "scorer", "signals", "selector", "target", "train", "evaluate", "tracking", "launch", "estimate", "leakage",
          "composition", "row", "debug")  # fmt: skip


@pytest.mark.parametrize("group", GROUPS)
def test_every_file_of_every_group_composes(group):
    for file in (refuse.CONF / group).glob("*.yaml"):
        choice = f"{group}={file.stem}"
        refuse.check(OF_A_SWEEP.get(choice, [choice, *NEEDS.get(choice, [])]), sweep=choice in OF_A_SWEEP)


@pytest.mark.parametrize(("overrides", "why"), [
    (["scorer=embedded,tuned", "selector=random"], "job 0 of this sweep trains, and that selects random"),
    (["scorer=tuned,embedded", "selector=full"], "job 0 of this sweep trains, and that does not come before it"),
    (["scorer=embedded,tuned", "selector=full", "stages=[load,score,select]"], r"selects full, stages \['load', 'score', 'select'\]"),
    (["scorer=embedded_pair,tuned_weak", "row=diff_high"], "scorer=tuned_weak reads .* selects disagreement"),
])  # fmt: skip
def test_a_scorer_that_a_sweep_fine_tunes_is_tuned_on_all_pairs_by_an_earlier_job(overrides, why):
    with pytest.raises(ValueError, match=why):
        refuse.check(overrides, sweep=True)


def test_help_is_for_a_person_and_loads_nothing_heavy():
    code = ("import runpy, sys; sys.argv = ['main.py', '--help']\n"
            "try: runpy.run_path('src/main.py', run_name='__main__')\n"
            "finally: print('HEAVY', [m for m in ('torch', 'transformers', 'hydra', 'pyarrow') if m in sys.modules])")  # fmt: skip
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "budget=0.25" in said
    assert "disagreement, full, ifd" in said
    assert "HEAVY []" in said


def test_a_refusal_costs_no_work_and_exits_with_2(tmp_path):
    done = subprocess.run([sys.executable, str(ROOT / "src/main.py"), "selector=idf"], cwd=tmp_path, capture_output=True,
                          text=True, check=False)  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == "refused: " + done.stderr.removeprefix("refused: ")
    assert not list(tmp_path.iterdir())
