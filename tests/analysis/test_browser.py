"""The report in headless Chromium: its pairs, plots and keys. No request leaves it and nothing in it runs."""

import re
from dataclasses import replace

import browsing
import hostile_logs
from browsing import WIDE, choose, click, one, opened, search, texts, wait

from analysis import findings, logs, report

driver, address, page = browsing.driver, browsing.address, browsing.page


def picture(driver):
    return driver.execute_script("return document.querySelector('#plots .plot canvas').toDataURL()")


def test_nothing_is_wider_than_the_window(page):
    assert page.execute_script("return document.documentElement.scrollWidth <= innerWidth")


def test_runs_results_and_missing_cells_are_told(page):
    assert texts(page, "#runs .state") == ["failed", "complete", "missing", "complete"]
    assert texts(page, "#results tbody tr td:nth-child(2)")[:3] == ["4.9% [2.0%, 9.0%]"] * 3
    click(page, "#results [data-key='humaneval: canonical_nll']")
    assert texts(page, "#results tbody tr td:nth-child(2)")[0] == "1.120 [1.050, 1.190]"


def test_search_finds_every_pair_that_holds_all_words_and_no_other(page):
    assert texts(page, "#count") == ["60 of 60 pairs"]
    search(page, 'ISTANBUL "query 7:"')
    assert texts(page, "#count") == ["0 of 60 pairs"]  # Turkish İ is not I
    search(page, 'stanbul "query 7:"')
    assert texts(page, "#count") == ["1 of 60 pairs"]
    assert texts(page, "#list-pairs .first")[0].startswith("query 7:")


def test_filters_keep_what_they_say(page):
    choose(page, "pairs", "show", "selected")
    assert texts(page, "#count") == ["15 of 60 pairs"]
    assert all("stratified 25%" in badges for badges in texts(page, "#list-pairs .badges"))
    choose(page, "pairs", "by", "1")
    assert texts(page, "#count") == ["6 of 60 pairs"]
    choose(page, "pairs", "show", "out")
    assert texts(page, "#count") == ["54 of 60 pairs"]
    choose(page, "pairs", "noise", "swapped")
    assert all("spoiled: swapped" in badges for badges in texts(page, "#list-pairs .badges"))


def test_the_list_is_in_the_order_that_was_asked_for(page):
    for measure in ("rmi", "rank", "ifd", "log_ppl_q", "diff"):
        choose(page, "pairs", "sort by", measure)
        shown = [float(text.replace("−", "-")) for text in texts(page, "#list-pairs .value")]
        assert shown == sorted(shown)


def test_every_plot_can_be_drawn_and_coloured_and_each_looks_different(page):
    pictures = set()
    for plot in ("distribution", "heteroscedastic", "ifd", "disagreement"):
        click(page, f"#plots [data-key={plot}]")
        for colour in ("0", "1", "noise", "none"):
            choose(page, "plots", "colour", colour)
            pictures.add(picture(page))
    assert len(pictures) == 16
    assert "outliers" in texts(page, "#plots .note")[0] or texts(page, "#plots .note")[0].startswith("Strong: scorer")


def test_a_point_tells_its_pair_when_hovered_and_opens_it_when_clicked(page):
    from selenium.webdriver import ActionChains

    click(page, "#plots [data-key=ifd]")
    canvas = one(page, "#plots .plot canvas")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    canvas.send_keys("\ue014")  # right arrow: the pair in the middle
    ring = page.execute_script(
        "const [a, b] = ['.ring', '.plot canvas'].map((s) => document.querySelector(`#plots ${s}`).getBoundingClientRect());"
        "return [a.x + a.width / 2 - b.x - b.width / 2, a.y + a.height / 2 - b.y - b.height / 2].map(Math.round)"
    )
    canvas.send_keys("\ue00c")
    page.execute_script("document.activeElement.blur()")
    assert not one(page, "#plots .tip").is_displayed()
    ActionChains(page).move_to_element_with_offset(canvas, *ring).perform()
    told = one(page, "#plots .tip").text
    assert told.startswith("RMI ")
    ActionChains(page).click().perform()
    assert one(page, "#reader").is_displayed()
    assert re.match(r"RMI (\S+)", told)[1] == f"{number(texts(page, '#reader .measures td.number')[0]):.2f}".replace(
        "-", "−"
    )


def number(text):
    return float(text.replace("−", "-"))


def test_a_bar_of_the_distribution_lists_its_pairs(page):
    from selenium.webdriver import ActionChains

    canvas = one(page, "#plots .plot canvas")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    ActionChains(page).move_to_element_with_offset(canvas, 0, -60).click().perform()
    told = int(texts(page, "#plots .tip b")[0].split()[0]) if texts(page, "#plots .tip b") else None
    shown, everything = re.match(r"(\d+) of (\d+) pairs", texts(page, "#count")[0]).groups()
    assert int(shown) < int(everything) == 60
    assert told in (None, int(shown))
    click(page, "#pairs .chip")
    assert texts(page, "#count") == ["60 of 60 pairs"]


def test_a_pair_opens_is_read_as_it_is_and_closes(page):
    search(page, '"query 0:"')
    click(page, "#list-pairs .row")
    assert one(page, "#reader").is_displayed()
    assert hostile_logs.ATTACKS[0] in texts(page, "#reader .query")[0]
    assert texts(page, "#reader .keyword") == ["def", "return"]
    assert texts(page, "#reader .comment") == ["# twice the number", '# "quoted"']
    assert page.execute_script("return location.hash").startswith("#pair=")
    one(page, "#reader").send_keys("\ue00c")  # Escape
    assert not one(page, "#reader").is_displayed()


def test_what_hides_in_a_text_is_made_visible(page):
    search(page, '"query 5:"')
    click(page, "#list-pairs .row")
    assert texts(page, "#reader .query .hidden-character") == ["␀", "␇", "␛", "U+007F", "U+202E", "U+202C", "U+FEFF"]


def test_every_pair_shows_its_text_and_none_runs_or_loads_anything(page):
    click(page, "#list-pairs .row")
    seen = []
    for _ in range(60):
        seen.append(texts(page, "#reader .query")[0].split(":")[0])
        page.execute_script("document.querySelectorAll('#reader header button')[1].click()")
    assert sorted(seen) == sorted(f"query {i}" for i in range(60))
    assert texts(page, "#reader img, #reader script, #reader svg, #reader style") == []


def test_a_report_opens_at_the_pair_that_its_address_names(driver, address):
    page = opened(driver, address, *WIDE, "light")
    search(page, '"query 4:"')
    click(page, "#list-pairs .row")
    link = page.current_url
    page.get("about:blank")
    page.get(link)
    wait(page, "return document.documentElement.dataset.ready === 'true'")
    assert texts(page, "#reader .query")[0].startswith("query 4:")


def test_scores_without_rmi_are_listed_by_what_there_is(driver, tmp_path):
    """scorer.passes=[forward,answer] makes IFD and no RMI."""
    held = hostile_logs.logs()
    kept = ("scores", "id", "ifd", "noise")
    rows = [{name: value for name, value in row.items() if name in kept} for row in held.metrics.to_pylist()]
    file = tmp_path / "report.html"
    made = replace(held, metrics=logs.conform(metrics=rows).metrics)
    file.write_text(report.page(findings.findings(made)), encoding="utf-8")
    page = opened(driver, file.as_uri(), *WIDE, "light")
    assert texts(page, "#list-pairs .row")
    assert [entry["message"] for entry in driver.get_log("browser")] == []


def test_both_extremes_stand_side_by_side(page):
    low, high = (
        [number(text.split()[1]) for text in texts(page, f".end.{end} header b")] for end in ("lowest", "highest")
    )
    assert low == sorted(low)
    assert high == sorted(high, reverse=True)
    assert max(low) < min(high)
    boxes = [one(page, f".end.{end}").rect for end in ("lowest", "highest")]
    wide = page.execute_script("return innerWidth") > 720
    assert (boxes[0]["y"] == boxes[1]["y"] and boxes[0]["x"] < boxes[1]["x"]) == wide
    assert len(texts(page, "#extremes .end .excerpt")) == 6
    choose(page, "extremes", "among", "1")
    assert all("stratified 10%" in text for text in texts(page, ".end header"))


def test_refused_records_are_listed_with_their_reason_and_open(page):
    click(page, "#pairs [data-key=refused]")
    assert texts(page, "#count") == ["3 of 3 refused records"]
    assert texts(page, "#list-refused .first")[0] == "empty answer"
    assert texts(page, "#pairs .chip")[0] == "empty answer: 1"
    search(page, "surrogate")
    assert texts(page, "#count") == ["1 of 3 refused records"]
    click(page, "#list-refused .row")
    assert "\\ud800 of a pair" in texts(page, "#reader .code")[0]


def test_the_keyboard_is_enough(page):
    body = one(page, "body")
    body.send_keys("/")
    one(page, "#search").send_keys("query")
    page.execute_script("document.getElementById('list-pairs').focus()")
    page.switch_to.active_element.send_keys("\ue015\ue015")  # down, down
    assert page.execute_script("return document.querySelector('#list-pairs [aria-selected=true]').ariaPosInSet") == "3"
    page.switch_to.active_element.send_keys("\ue007")  # Enter
    first = texts(page, "#reader .query")
    page.switch_to.active_element.send_keys("\ue014")  # the next pair
    assert texts(page, "#reader .query") != first
    page.switch_to.active_element.send_keys("\ue00c")
    assert page.execute_script("return document.activeElement.id") == "list-pairs"


def test_only_the_rows_in_sight_are_on_the_page(page):
    assert len(texts(page, "#list-pairs .row")) < 30
    page.execute_script("document.getElementById('list-pairs').scrollTop = 1e9")
    wait(page, "return [...document.querySelectorAll('#list-pairs .row')].some((row) => row.ariaPosInSet === '60')")
    assert len(texts(page, "#list-pairs .row")) < 30


def test_ten_thousand_pairs_are_searched_and_scrolled(driver, tmp_path):
    file = tmp_path / "large.html"
    file.write_text(report.page(findings.findings(hostile_logs.logs(10_000))), encoding="utf-8")
    page = opened(driver, file.as_uri(), *WIDE, "light")
    assert texts(page, "#count") == ["10,000 of 10,000 pairs"]
    search(page, '"query 9876:"')
    assert texts(page, "#count") == ["1 of 10,000 pairs"]
    search(page, "query")
    page.execute_script("document.getElementById('list-pairs').scrollTop = 1e9")
    wait(page, "return [...document.querySelectorAll('#list-pairs .row')].some((row) => row.ariaPosInSet === '10000')")
    assert len(texts(page, "#list-pairs .row")) < 30
    assert page.get_log("browser") == []


def test_light_and_dark_follow_the_system_and_text_is_readable_in_both(page):
    colours = page.execute_script(
        "const style = getComputedStyle(document.body); return [style.color, style.backgroundColor]"
    )
    ink, paper = (luminance(colour) for colour in colours)
    dark = page.execute_script("return matchMedia('(prefers-color-scheme: dark)').matches")
    assert (ink > paper) == dark
    assert (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05) > 7  # WCAG AAA


def luminance(colour):
    """WCAG's relative luminance of rgb(r, g, b)."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_the_page_s_policy_stops_a_script_that_got_in(driver, address):
    page = opened(driver, address, *WIDE, "light")
    page.execute_script(
        "const script = document.createElement('script'); script.textContent = 'window.injected = 1';"
        "document.body.append(script)"
    )
    assert page.execute_script("return window.injected") is None
    assert "Content Security Policy" in page.get_log("browser")[0]["message"]
