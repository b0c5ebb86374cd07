"""The browser that the pages are opened in."""

import pytest

from tests.browser.webdriver import Browser


@pytest.fixture(scope="module")
def browser(chromium, tmp_path_factory):
    browser = Browser(
        *chromium, profile=tmp_path_factory.mktemp("profile"), width=1400, height=900
    )
    yield browser
    browser.close()
