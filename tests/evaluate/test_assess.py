"""What a run says of its evaluation."""

import json
from types import SimpleNamespace

from qaq import assess


def test_a_calibration_that_is_kept_warns_in_every_run(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(assess, "_grading", lambda settings: {})
    kept = SimpleNamespace(path=tmp_path)
    (tmp_path / "calibration.json").write_text(json.dumps({"tasks": 2, "failed": ["HumanEval/1 (fail)"]}))
    job = SimpleNamespace(cfg={"evaluate": {}}, store=SimpleNamespace(entry=lambda *_: kept), keep=lambda _, made: made)
    assess._calibrate(job, SimpleNamespace(key="truth", path=tmp_path))
    assert "1 of 2 canonical solutions do not pass" in caplog.text
