import sys

import hostile_logs
import pytest

from analysis import findings, wandb_report

wr = pytest.importorskip("wandb_workspaces.reports.v2", reason="wandb-workspaces is not installed: it is optional")


@pytest.fixture(scope="module")
def found():
    return findings.findings(hostile_logs.logs())


def test_the_blocks_are_what_w_and_b_takes_and_hold_runs_results_and_both_extremes(found):
    made = wr.Report(project="p", entity="e", title="t", blocks=wandb_report.blocks(found, wr))
    text = made._to_model().spec.model_dump_json(by_alias=True, exclude_none=True)
    tables = "".join(block.text for block in made.blocks if isinstance(block, wr.MarkdownBlock))
    assert "| 4.9% \\[2.0%, 9.0%\\] |" in tables
    assert "| missing |" in tables
    assert "| all pairs of &lt;b>data&lt;/b> | humaneval | 7.12% | 9 | 60 | 164 | - |" in tables
    assert "| topic | strings | 75.0% | 80.0% | 83.3% |" in tables
    columns = found["scorings"][0]
    ids = [columns["ids"][i] for i in sorted(range(60), key=lambda i: columns["columns"]["rmi"][i])]
    shown = [id for id in ids if id in text]
    assert shown == ids[:5] + ids[-5:]


def test_a_cell_of_a_table_cannot_end_it_or_become_markup():
    table = wandb_report.markdown_table(("a", "b"), [["x | y\nz", "<script>*1*</script>"], [None, 2]])
    assert table.splitlines() == [
        "| a | b |",
        "| --- | --- |",
        "| x \\| y z | &lt;script>\\*1\\*&lt;/script> |",
        "| - | 2 |",
    ]


def test_without_the_library_the_way_out_is_named(found, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb_workspaces.reports.v2", None)
    with pytest.raises(SystemExit, match="pip install wandb-workspaces"):
        wandb_report.publish(found, "project", None)


def test_without_a_login_nothing_is_uploaded_and_the_way_out_is_named(found, monkeypatch):
    import wandb

    def refuse():
        raise wandb.errors.UsageError("No API key configured. Use `wandb login` to log in.")

    monkeypatch.setattr(wandb, "login", refuse)
    monkeypatch.setattr(wandb, "init", lambda **_: pytest.fail("started a run"))
    with pytest.raises(SystemExit, match="wandb login"):
        wandb_report.publish(found, "project", None)
