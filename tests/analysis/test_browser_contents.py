"""The sections of leakage and composition in headless Chromium."""

from dataclasses import replace

import browsing
import hostile_logs
from browsing import WIDE, choose, click, one, opened, texts

from analysis import findings, report

driver, address, page = browsing.driver, browsing.address, browsing.page


def test_tli_of_all_pairs_and_of_each_selection_is_told_with_what_could_not_be_measured(page):
    rows = [text.strip() for text in texts(page, "#leakage tbody tr")]
    assert len(rows) == 3
    assert rows[0].startswith("all pairs of <b>data</b>607.12%9 pairs")
    assert texts(page, "#leakage .note") == [hostile_logs.ATTACKS[1]]  # the reason, as text
    assert rows[1].startswith("stratified 25%, seed 0154.00%2 pairs")
    assert texts(page, "#leakage thead th") == ["pairs of", "pairs", "humaneval, 164 items", "mbpp"]


def test_the_worst_leaks_stand_beside_the_test_item_the_worst_first(page):
    assert texts(page, "#leaks-count") == ["7 of 7 items shown"]
    assert [text.split()[0] for text in texts(page, ".leaks header b")] == [f"{share}%" for share in range(90, 20, -10)]
    shown = texts(page, ".leaks .excerpt")
    for k in range(1, 7):
        assert f"def test_{k}():" in shown[2 * k]
    for k in range(1, 5):  # the others have hidden characters, and a fence, that are shown as what they are
        assert hostile_logs.ATTACKS[k] in shown[2 * k + 1]
    boxes = [box.rect for box in page.find_elements("css selector", ".leaks article:first-child .end")]
    wide = page.execute_script("return innerWidth") > 720
    assert (boxes[0]["y"] == boxes[1]["y"]) == wide
    assert texts(page, ".leaks img, .leaks script, .leaks style") == []


def test_a_query_the_table_lacks_is_looked_up_among_the_pairs_and_the_pair_opens(page):
    assert texts(page, ".leaks article:first-child .excerpt")[1].startswith("query ")
    click(page, ".leaks article:first-child button")
    assert one(page, "#reader").is_displayed()
    assert texts(page, "#reader .query") == [texts(page, ".leaks article:first-child .excerpt")[1]]


def test_leaks_are_searched_and_narrowed_to_where_they_were_found(page):
    box = one(page, "#leakage input")
    box.send_keys("test_3")
    assert texts(page, "#leaks-count") == ["1 of 7 items shown"]
    assert texts(page, ".leaks header b") == ["60% of HumanEval/3"]
    box.clear()
    choose(page, "leakage", "found in", "stratified 10%")
    assert all("stratified 10%" in text for text in texts(page, ".leaks header"))
    box.send_keys("nowhere to be found")
    assert texts(page, ".leaks article") == []


def test_composition_shows_every_facet_with_the_pool_beside_the_selections(page):
    assert texts(page, "#composition thead th") == [
        "topic",
        "pool",
        "pairs",
        "stratified 25%, seed 0",
        "stratified 10%",
    ]
    assert texts(page, "#composition tbody tr") == ["strings75.0%4580.0%83.3%", "other25.0%1520.0%16.7%"]
    click(page, "#composition [data-key=source]")
    assert texts(page, "#composition tbody td:first-child") == ["<b>source</b>", hostile_logs.ATTACKS[1]]
    bars = page.execute_script(
        "return [...document.querySelectorAll('#composition rect')].map((r) => r.getAttribute('class'))"
    )
    assert bars == ["more", "more", "less", "less"]


def test_runs_in_which_nothing_was_measured_say_so(driver, tmp_path):
    held = hostile_logs.logs()
    bare = replace(held, **{name: getattr(held, name).slice(0, 0) for name in ("composition", "tli", "leakage")})
    file = tmp_path / "report.html"
    file.write_text(report.page(findings.findings(bare)), encoding="utf-8")
    page = opened(driver, file.as_uri(), *WIDE, "light")
    assert texts(page, "#leakage p") == ["Leakage of benchmarks was not measured in these runs."]
    assert "was not measured" in texts(page, "#composition p")[0]
    assert texts(page, "#count") == ["60 of 60 pairs"]
