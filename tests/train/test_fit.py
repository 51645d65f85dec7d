"""A training run: its losses are the ones plain transformers gives, its order is the seed's, its files are whole."""

import errno
import importlib
import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, LlamaModel
from trl import SFTTrainer

from qaq import models
from qaq.train import setup
from qaq.train.fit import fit
from qaq.train.rows import Row, encode
from qaq.train.setup import check_prepared
from qaq.train.trainer import Trainer

fit_module = importlib.import_module("qaq.train.fit")  # the package has the function under that name
SMOKE = Path(__file__).resolve().parents[2] / "conf" / "train" / "smoke.yaml"


def pair(number: int) -> dict[str, str]:
    """A pair of its own lengths on both sides."""
    answer = f"def f{number}(x):\n" + "    x = x + 1\n" * (number % 4) + f"    return x * {number}"
    return {"id": f"{number:02}", "query": f"write f{number}" + " please" * (number % 3), "answer": answer}


PAIRS = [pair(number) for number in range(10)]


def run(model, out, pairs=PAIRS, **changes) -> list[dict]:
    """The lines of training.jsonl of one run."""
    settings = {**yaml.safe_load(SMOKE.read_text()), "system_prompt": None, "deepspeed": {}, "seed": 0, "micro_batch_size": 4, "epochs": 1, "batch_size": 4, "learning_rate": 1e-3, "warmup": 0.0,
                "dtype": "float32", "max_length": 256, **changes}  # fmt: skip
    (out / "work").mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(pairs), out / "rows.parquet")
    fit({"model": str(model), "rows": str(out / "rows.parquet"), "settings": settings, "device": "cpu",
         "work": str(out / "work"), "out": str(out)})  # fmt: skip
    return [json.loads(line) for line in (out / "training.jsonl").open()]


def losses(lines: list[dict]) -> list[float]:
    return [line["loss"] for line in lines]


def read(out, name: str):
    return json.loads((out / name).read_text())


def same_weights(ours, theirs, tolerance: float) -> bool:
    """Whether two trainings ended with the same model."""
    a, b = (AutoModelForCausalLM.from_pretrained(out / "model").state_dict() for out in (ours, theirs))
    return a.keys() == b.keys() and all(torch.allclose(a[name], b[name], rtol=0, atol=tolerance) for name in a)


@pytest.fixture(scope="module")
def plain(tiny_model, tmp_path_factory):
    """(directory, lines) of one epoch over all pairs, micro-batches of 4."""
    out = tmp_path_factory.mktemp("plain") / "run"
    return out, run(tiny_model, out)


def test_the_first_loss_is_the_mean_nll_of_answer_and_tail_tokens(tiny_model, tmp_path):
    """One batch of all pairs, each recomputed alone, without padding, from log-probabilities."""
    lines = run(tiny_model, tmp_path / "run", batch_size=10, micro_batch_size=5)
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    total = tokens = 0
    for row in encode(models.tokenizer(tiny_model), PAIRS, None):
        ids = torch.tensor(row.ids)
        with torch.no_grad():
            logp = model(ids[None]).logits[0].log_softmax(-1)
        for position in range(row.prompt, len(ids)):
            total -= float(logp[position - 1, ids[position]])
            tokens += 1
    assert len(lines) == 1
    assert lines[0]["loss"] == pytest.approx(total / tokens, abs=1e-4)


def test_splitting_the_batch_changes_no_loss_and_no_weight(tiny_model, plain, tmp_path):
    whole, lines = plain
    pieces = run(tiny_model, tmp_path / "run", micro_batch_size=1)
    assert losses(pieces) == pytest.approx(losses(lines), abs=1e-4)
    assert same_weights(whole, tmp_path / "run", 1e-4)


def test_the_same_seed_gives_the_same_losses_and_the_order_of_the_file_does_not_matter(tiny_model, plain, tmp_path):
    again = run(tiny_model, tmp_path / "run", pairs=PAIRS[::-1])
    assert losses(again) == losses(plain[1])


def test_another_seed_is_another_order_and_not_the_next_epoch_of_this_one(tiny_model, tmp_path):
    first = run(tiny_model, tmp_path / "first", epochs=2, learning_rate=1e-9, seed=0)
    second = run(tiny_model, tmp_path / "second", epochs=1, learning_rate=1e-9, seed=1)
    assert losses(second) != pytest.approx(losses(first)[:3], abs=1e-4)
    assert losses(second) != pytest.approx(losses(first)[3:], abs=1e-4)


def test_equal_updates_whatever_the_number_of_rows(tiny_model, tmp_path):
    """Two subsets of other sizes, trained equally long: the smaller is read more often."""
    for name, pairs in (("few", PAIRS[:4]), ("all", PAIRS)):
        lines = run(tiny_model, tmp_path / name, pairs=pairs, updates=4)
        assert len(lines) == 4
        assert lines[-1]["epoch"] == pytest.approx(4 * 4 / 4 if name == "few" else 1 + 4 / 10)


def test_packing_changes_no_loss_and_no_weight(tiny_model, plain, tmp_path):
    whole, lines = plain
    packed = run(tiny_model, tmp_path / "run", packing=True)
    assert losses(packed) == pytest.approx(losses(lines), abs=1e-5)
    assert same_weights(whole, tmp_path / "run", 1e-4)


def test_packing_is_refused_where_rows_would_see_each_other(tiny_model, tmp_path, monkeypatch):
    """A model that is told no positions reads the rows of a pass as one text."""
    forward = LlamaModel.forward

    def blind(self, *args, position_ids=None, **more):
        return forward(self, *args, **more)

    monkeypatch.setattr(LlamaModel, "forward", blind)
    with pytest.raises(ValueError, match=r"train\.packing=true.*see each other.*train\.packing=false"):
        run(tiny_model, tmp_path / "run", packing=True)


def test_packing_draws_nothing_that_a_training_gone_on_would_draw_otherwise(tiny_model, tmp_path, monkeypatch):
    settings = {"packing": True, "epochs": 2, "save_steps": 2, "adapter": {"rank": 4, "alpha": 8, "dropout": 0.3}}
    whole = run(tiny_model, tmp_path / "whole", **settings)
    with monkeypatch.context() as patched:
        stop_at(patched, 3, "training_step")
        with pytest.raises(Killed):
            run(tiny_model, tmp_path / "run", **settings)
    assert losses(run(tiny_model, tmp_path / "run", **settings)) == losses(whole)
    assert same_weights(tmp_path / "whole", tmp_path / "run", 0)


def test_a_model_that_draws_says_that_the_way_rows_are_read_now_counts(tiny_model, tmp_path, caplog):
    drawing = tmp_path / "model"
    shutil.copytree(tiny_model, drawing)
    config = json.loads((drawing / "config.json").read_text())
    (drawing / "config.json").write_text(json.dumps({**config, "attention_dropout": 0.1}))
    run(drawing, tmp_path / "run")
    assert "the model's own attention_dropout=0.1" in caplog.text


class Killed(BaseException):
    """Stands for a kill: nothing may catch it and tidy up."""


def stop_at(monkeypatch, step: int, method: str) -> None:
    """End the training in `method` of the Trainer at `step`."""
    original = getattr(Trainer, method)

    def ended(self, *args, **more):
        if self.state.global_step == step:
            raise Killed
        return original(self, *args, **more)

    monkeypatch.setattr(Trainer, method, ended)


@pytest.mark.parametrize(("step", "method", "left"), [
    (3, "training_step", 2),  # in the step after update 3
    (4, "_save_rng_state", 2),  # while the checkpoint of update 4 is written
    (1, "training_step", 0),  # before any checkpoint
])  # fmt: skip
def test_an_ended_training_goes_on_where_it_was_and_comes_out_the_same(tiny_model, tmp_path, monkeypatch, step, method, left):  # fmt: skip
    whole = run(tiny_model, tmp_path / "whole", epochs=2, save_steps=2)
    with monkeypatch.context() as patched:
        stop_at(patched, step, method)
        with pytest.raises(Killed):
            run(tiny_model, tmp_path / "run", epochs=2, save_steps=2)
    found = sorted(folder.name for folder in (tmp_path / "run" / "work").glob("checkpoint-*/manifest.json"))
    assert len(found) == (1 if left else 0)
    again = run(tiny_model, tmp_path / "run", epochs=2, save_steps=2)
    assert losses(again) == losses(whole)
    assert [line["step"] for line in again] == [1, 2, 3, 4, 5, 6]
    assert same_weights(tmp_path / "whole", tmp_path / "run", 0)


def test_a_spoiled_checkpoint_is_not_gone_on_from(tiny_model, tmp_path, monkeypatch, caplog):
    whole = run(tiny_model, tmp_path / "whole", epochs=2, save_steps=2)
    with monkeypatch.context() as patched:
        stop_at(patched, 5, "training_step")
        with pytest.raises(Killed):
            run(tiny_model, tmp_path / "run", epochs=2, save_steps=2)
    with (tmp_path / "run/work/checkpoint-4/optimizer.pt").open("r+b") as file:
        file.truncate(1000)
    assert losses(run(tiny_model, tmp_path / "run", epochs=2, save_steps=2)) == losses(whole)
    assert "checkpoint-4 is no checkpoint to go on from (optimizer.pt is not what was written" in caplog.text


def test_old_checkpoints_are_removed_and_the_last_update_needs_none(tiny_model, tmp_path):
    run(tiny_model, tmp_path / "run", epochs=2, save_steps=1, keep_checkpoints=2)
    assert sorted(folder.name for folder in (tmp_path / "run/work").glob("checkpoint-*")) == [
        "checkpoint-4",
        "checkpoint-5",
    ]


def test_a_full_disk_names_what_is_needed_and_the_checkpoint_that_stays(tiny_model, tmp_path, monkeypatch):
    save = Trainer._save_optimizer_and_scheduler

    def full(self, folder):
        if self.state.global_step == 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(self, folder)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "_save_optimizer_and_scheduler", full)
        with pytest.raises(
            OSError, match=r"no room for checkpoint-4: it needs about .* bytes .*; checkpoint-2 is whole and stays"
        ):
            run(tiny_model, tmp_path / "run", epochs=2, save_steps=2)
    assert [folder.name for folder in (tmp_path / "run/work").glob("*checkpoint-*")] == ["checkpoint-2"]
    again = run(tiny_model, tmp_path / "run", epochs=2, save_steps=2)
    assert [line["step"] for line in again] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("error", [
    RuntimeError("PytorchStreamWriter failed writing file data/6: file write failed"), ValueError("something else"),
])  # fmt: skip
def test_an_error_on_a_disk_with_room_stays_what_it_is(tiny_model, tmp_path, monkeypatch, error):
    def fail(self, folder):
        raise error

    monkeypatch.setattr(Trainer, "_save_optimizer_and_scheduler", fail)
    with pytest.raises(type(error), match=str(error)):
        run(tiny_model, tmp_path / "run", save_steps=2)


@pytest.mark.parametrize("where", [(setup, "load"), (Trainer, "training_step"), (fit_module, "_save")])
def test_when_memory_runs_out_the_settings_that_would_fit_are_named(tiny_model, tmp_path, monkeypatch, where):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(*where, full)
    with pytest.raises(
        MemoryError,
        match=r"train\.micro_batch_size=4 rows .* 1 rank\. Predicted to fit: .*train\.gradient_checkpointing=true",
    ):
        run(tiny_model, tmp_path / "run")


def test_a_deepspeed_setting_that_would_change_the_result_under_the_same_key_is_refused(tiny_model, tmp_path):
    with pytest.raises(ValueError, match=r"train\.deepspeed\.optimizer: only .*zero_optimization"):
        run(tiny_model, tmp_path / "run", deepspeed={"zero_optimization": {"stage": 1}, "optimizer": {"type": "Lamb"}})


@pytest.mark.parametrize(
    "lossy", [{"zero_quantized_gradients": True}, {"zenflow": {"topk_ratio": 0.1}}, {"compute_grad_norm": False}]
)
def test_what_deepspeed_rounds_or_delays_is_refused_too(tiny_model, tmp_path, lossy):
    with pytest.raises(ValueError, match=rf"zero_optimization\.{next(iter(lossy))} changes what is learned"):
        run(tiny_model, tmp_path / "run", deepspeed={"zero_optimization": {"stage": 2, **lossy}})


def test_a_build_that_fails_after_training_finds_the_whole_record_again(tiny_model, plain, tmp_path):
    out = tmp_path / "run"
    run(tiny_model, out)
    again = run(tiny_model, out)
    assert [line["step"] for line in again] == [1, 2, 3]


def test_an_adapter_is_trained_alone_and_merged_into_a_whole_model(tiny_model, tmp_path):
    adapter = {"rank": 4, "alpha": 8, "dropout": 0.0}
    lines = run(tiny_model, tmp_path / "run", adapter=adapter, epochs=3, learning_rate=1e-2)
    assert lines[-1]["loss"] < lines[0]["loss"]
    made, base = (AutoModelForCausalLM.from_pretrained(where, dtype=torch.float32).state_dict()
                  for where in (tmp_path / "run" / "model", tiny_model))  # fmt: skip
    changed = {name for name in base if not torch.allclose(made[name], base[name])}
    assert made.keys() == base.keys()
    assert changed == {name for name in base if "_proj.weight" in name}
    assert (tmp_path / "run/adapter/adapter_model.safetensors").is_file()


def test_the_last_short_batch_of_an_epoch_is_trained(plain):
    out, lines = plain
    counts = read(out, "counts.json")
    assert counts["steps"] == len(lines) == 3  # 4 + 4 + 2 rows
    assert sum(line["tokens"] for line in lines) == counts["tokens"]
    assert [line["epoch"] for line in lines] == pytest.approx([0.4, 0.8, 1])
    assert counts["final_loss"] == lines[-1]["loss"]


def test_warm_up_is_a_fraction_of_all_updates_and_the_cosine_ends_low(tiny_model, tmp_path):
    rates = [line["learning_rate"] for line in run(tiny_model, tmp_path / "run", epochs=4, batch_size=2, warmup=0.2)]
    assert len(rates) == 20
    assert rates[:5] == pytest.approx([0, 0.25e-3, 0.5e-3, 0.75e-3, 1e-3])
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[-1] < 0.02e-3


@pytest.mark.parametrize("too_long", ["drop", "truncate"])
def test_long_rows_are_counted_and_listed_exactly(tiny_model, tmp_path, too_long):
    rows = {row.id: row for row in encode(models.tokenizer(tiny_model), PAIRS, None)}
    limit = sorted(len(row.ids) for row in rows.values())[5]
    long = {name for name, row in rows.items() if len(row.ids) > limit}
    gone = {name for name in long if too_long == "drop" or rows[name].prompt >= limit}
    out = tmp_path / "run"
    run(tiny_model, out, max_length=limit, too_long=too_long)
    listed = [json.loads(line) for line in (out / "rows.jsonl").open()]
    assert listed == [{"id": name, "tokens": len(rows[name].ids), "what": "dropped" if name in gone else "truncated"}
                      for name in sorted(long)]  # fmt: skip
    counts = read(out, "counts.json")
    assert (counts["rows"], counts["dropped"], counts["truncated"]) == (10, len(gone), len(long - gone))
    assert counts["trained"] == 10 - len(gone)
    assert counts["tokens"] == sum(min(len(row.ids), limit) for name, row in rows.items() if name not in gone)


def test_rows_beyond_the_models_window_are_too_long_whatever_max_length_says(tiny_model, tmp_path):
    window = AutoModelForCausalLM.from_pretrained(tiny_model).config.max_position_embeddings
    pairs = [*PAIRS, {"id": "99", "query": "q", "answer": "word " * window}]
    run(tiny_model, tmp_path / "run", pairs=pairs, max_length=100_000, too_long="drop")
    assert read(tmp_path / "run", "counts.json")["dropped"] == 1
    assert read(tmp_path / "run", "counts.json")["limit"] == window


def test_nothing_left_to_train_on_is_refused_with_max_length_and_the_shortest_row(tiny_model, tmp_path):
    shortest = min(len(row.ids) for row in encode(models.tokenizer(tiny_model), PAIRS, None))
    with pytest.raises(ValueError, match=rf"train\.max_length.* shortest row has {shortest} tokens"):
        run(tiny_model, tmp_path / "run", max_length=8)


def test_the_result_loads_and_keeps_tokenizer_and_template(tiny_model, plain):
    out, _ = plain
    model, tokenizer = models.load(out / "model", "float32", "cpu")
    before, source = models.load(tiny_model, "float32", "cpu")
    assert tokenizer.chat_template == source.chat_template
    assert tokenizer.get_vocab() == source.get_vocab()
    assert not torch.equal(model.get_input_embeddings().weight, before.get_input_embeddings().weight)
    assert model.config.use_cache == before.config.use_cache


def test_the_weights_are_saved_in_the_dtype_of_the_settings(tiny_model, plain, tmp_path):
    run(tiny_model, tmp_path / "run", dtype="bfloat16")
    for out, dtype in [(tmp_path / "run", torch.bfloat16), (plain[0], torch.float32)]:
        assert AutoModelForCausalLM.from_pretrained(out / "model", dtype="auto").dtype == dtype


def test_the_loss_is_the_one_trl_computes_itself(tiny_model, plain, tmp_path, monkeypatch):
    monkeypatch.setattr(Trainer, "compute_loss", SFTTrainer.compute_loss)
    assert losses(run(tiny_model, tmp_path / "run")) == pytest.approx(losses(plain[1]), abs=1e-4)


def test_bfloat16_trains_float32_weights(tiny_model, tmp_path, monkeypatch):
    """An AdamW step of 1e-5 is below half a unit of a bfloat16 weight near 0.01 already: 2**-15."""
    seen = set()
    step = Trainer.training_step

    def watched(self, model, *args, **more):
        seen.update(weight.dtype for weight in model.parameters())
        return step(self, model, *args, **more)

    monkeypatch.setattr(Trainer, "training_step", watched)
    run(tiny_model, tmp_path / "run", dtype="bfloat16")
    assert seen == {torch.float32}


def test_bfloat16_follows_float32(tiny_model, plain, tmp_path):
    half = run(tiny_model, tmp_path / "run", dtype="bfloat16")
    assert losses(half) == pytest.approx(losses(plain[1]), rel=0.02)


def test_a_loss_that_is_no_number_ends_the_training(tiny_model, tmp_path):
    with pytest.raises(ValueError, match=r"(loss|norm) is (nan|inf).*train\.learning_rate"):
        run(tiny_model, tmp_path / "run", epochs=30, learning_rate=1e30, max_grad_norm=0.0)


def test_a_gradient_that_is_no_number_ends_the_training_also_in_its_last_update(tiny_model, tmp_path, monkeypatch):
    clip = Trainer._clip_grad_norm

    def spoiled(self, model):
        if self.state.global_step == 2:
            next(model.parameters()).grad[0] = float("inf")
        return clip(self, model)

    monkeypatch.setattr(Trainer, "_clip_grad_norm", spoiled)
    with pytest.raises(ValueError, match=r"gradient's norm is inf at step 3, .*train\.learning_rate"):
        run(tiny_model, tmp_path / "run")
    assert not (tmp_path / "run/model").exists()


def test_settings_that_cannot_train_are_refused(tiny_model, tmp_path):
    for number, (name, value) in enumerate([("dtype", "float16"), ("batch_size", None), ("learning_rate", None)]):
        with pytest.raises(ValueError, match=f"train.{name}"):
            run(tiny_model, tmp_path / str(number), **{name: value})


@pytest.mark.parametrize("made", [[], [([1, 2], [-100, 2])], [([1, 2, 3], [1, 2, 3])]])
def test_rows_that_trl_drops_cuts_or_unmasks_are_noticed(made):
    prepared = [{"input_ids": ids, "labels": labels} for ids, labels in made]
    with pytest.raises(RuntimeError, match="TRL"):
        check_prepared(prepared, [Row("a", [1, 2, 3], 1)])
