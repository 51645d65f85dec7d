"""A report in headless Chromium, from a file URL: what the tests of it share. Without a browser they are skipped; with
REQUIRE_BROWSER set (as .ci/run does) they fail."""

import json
import os
import shutil

import hostile_logs
import pytest

from analysis import findings, report

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WIDE, PHONE = (1400, 900), (390, 844)


@pytest.fixture(scope="module")
def driver():
    browser = next(filter(None, map(shutil.which, CHROMIUM)), None)
    chromedriver = shutil.which("chromedriver")
    if not browser or not chromedriver:
        wanted = "no Chromium with its driver: apt-get install chromium chromium-driver"
        (pytest.fail if os.environ.get("REQUIRE_BROWSER") else pytest.skip)(wanted)
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = browser
    # A container allows no sandbox and little shared memory; no name resolves, so nothing leaves the machine.
    for switch in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "host-resolver-rules=MAP * ~NOTFOUND"):
        options.add_argument(f"--{switch}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with webdriver.Chrome(options=options, service=webdriver.ChromeService(chromedriver)) as running:
        running.set_script_timeout(60)
        yield running


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    file = tmp_path_factory.mktemp("report") / "report.html"
    file.write_text(report.page(findings.findings(hostile_logs.logs())), encoding="utf-8")
    return file.as_uri()


@pytest.fixture(params=[(WIDE, "light"), (PHONE, "dark")], ids=["wide light", "phone dark"])
def page(driver, address, request):
    """The report, just opened; afterwards: no error in the console, no request but for the file itself, nothing injected."""
    (width, height), scheme = request.param
    yield opened(driver, address, width, height, scheme)
    assert driver.execute_script("return window.injected") is None
    assert [entry["message"] for entry in driver.get_log("browser")] == []
    assert requested(driver) == {address}


def opened(driver, address, width, height, scheme):
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    features = [
        {"name": "prefers-color-scheme", "value": scheme},
        {"name": "prefers-reduced-motion", "value": "reduce"},
    ]
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    driver.get("about:blank")
    for log in ("browser", "performance"):
        driver.get_log(log)  # what came before is not this page's
    driver.get(address)
    wait(driver, "return document.documentElement.dataset.ready === 'true'")
    return driver


def wait(driver, condition):
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(driver, 30, 0.05).until(lambda running: running.execute_script(condition))


def requested(driver):
    """Addresses, without their fragments, that the page asked for since it was opened."""
    events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    sent = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    return {url.partition("#")[0] for url in sent}


def one(driver, selector):
    return driver.find_element("css selector", selector)


def texts(driver, selector):
    return driver.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map((n) => n.textContent)", selector
    )


def click(driver, selector):
    driver.execute_script("document.querySelector(arguments[0]).click()", selector)


def choose(driver, section, label, value):
    """The option `value` of the menu that carries this label."""
    driver.execute_script(
        "const [where, label, value] = arguments;"
        "const menu = [...document.querySelectorAll(`#${where} label`)].find((one) => one.textContent.startsWith(label));"
        "const select = menu.querySelector('select');"
        "if (![...select.options].some((option) => option.value === value)) throw new Error(`no ${value}`);"
        "select.value = value; select.dispatchEvent(new Event('change'));",
        section, label, value)  # fmt: skip


def search(driver, words):
    box = one(driver, "#search")
    box.clear()
    box.send_keys(words)
