"""What enters a cache key, and the presets."""

import json
import platform
from dataclasses import fields
from pathlib import Path

import pytest
from loading import settings
from omegaconf import OmegaConf

from qaq import data
from qaq.sections import DataConfig

CONF = Path(__file__).resolve().parents[2] / "conf" / "data"
PRESETS = {"magpie_coder", "openr1_math", "xcoder_80k", "evol_codealpaca", "magicoder_oss", "magicoder_evol",
           "code_feedback"}  # fmt: skip


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"query": "q", "answer": "a"}\n')
    return path


def test_the_same_content_under_another_path_is_the_same(tmp_path, file):
    copy = tmp_path / "elsewhere"
    copy.write_bytes(file.read_bytes())
    assert data.identity(settings(path=str(file))) == data.identity(settings(path=str(copy)))
    assert str(tmp_path) not in json.dumps(data.identity(settings(path=str(file))))


def test_other_content_under_the_same_path_is_another(file):
    before = data.identity(settings(path=str(file)))
    file.write_text("{}")
    assert data.identity(settings(path=str(file))) != before


@pytest.mark.parametrize(
    "changed",
    [
        {"turns": "last"},
        {"limit": 1},
        {"noise": 0.5},
        {"held_out": 0.1},
        {"query": "x"},
        {"answer": "x"},
        {"input": "x"},
        {"name": "x"},
    ],
)
def test_an_option_that_changes_the_result_changes_the_identity(file, changed):
    assert data.identity(settings(path=str(file), **changed)) != data.identity(settings(path=str(file)))


@pytest.mark.parametrize("changed", [{"seed": 1}, {"noise_kinds": ["cut"]}])
def test_the_draw_enters_only_where_something_is_drawn(file, changed):
    def identities(**base):
        return data.identity(settings(path=str(file), **base)), data.identity(
            settings(path=str(file), **base, **changed)
        )

    without, without_changed = identities()
    noisy, noisy_changed = identities(noise=0.1)
    assert without == without_changed
    assert noisy != noisy_changed
    drawn, drawn_changed = identities(held_out=0.1)
    assert (drawn != drawn_changed) == ("seed" in changed)


def test_the_standard_library_is_known_by_the_python_version_and_the_seed():
    found = data.identity(settings(name="stdlib"))
    assert found["python"] == platform.python_version()
    assert found != data.identity(settings(name="stdlib", seed=1))


def test_a_hub_set_is_known_by_id_commit_subset_and_split():
    base = {"name": "hub", "id": "owner/name", "revision": "a" * 40, "subset": "s", "split": "train"}
    others = [{"id": "owner/other"}, {"revision": "b" * 40}, {"subset": None}, {"split": "test"}]
    assert all(data.identity(settings(**{**base, **o})) != data.identity(settings(**base)) for o in others)


def test_a_local_directory_is_known_by_its_content(tmp_path):
    found = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.jsonl").write_text("{}")
        found.append(data.identity(settings(name="hub", id=str(tmp_path / name), split="train")))
    assert found[0] == found[1]


@pytest.mark.parametrize("name", ["stdlib", "jsonl", "hub"])
def test_a_source_sets_every_option(name):
    node = OmegaConf.load(CONF / f"{name}.yaml")
    assert list(node) == [field.name for field in fields(DataConfig)]
    OmegaConf.merge(OmegaConf.structured(DataConfig), node)


def test_each_preset_of_the_paper_is_a_hub_set_pinned_to_a_commit_or_refused_until_it_is():
    for name in PRESETS:
        preset = OmegaConf.load(CONF / f"{name}.yaml")
        assert preset.pop("defaults") == ["hub", "_self_"]
        merged = OmegaConf.merge(OmegaConf.structured(DataConfig), OmegaConf.load(CONF / "hub.yaml"), preset)
        assert merged.name == name
        given = settings(**{name: merged[name] for name in ("name", "id", "revision", "subset", "split")})
        if merged.revision:
            assert data.identity(given)["revision"] == merged.revision
        else:
            with pytest.raises(ValueError, match="pin one"):
                data.identity(given)
