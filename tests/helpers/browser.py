"""A real browser without a screen, run in a process of its own: Chromium as Qt's QtWebEngine ships it.

    python tests/helpers/browser.py PAGE.html WIDTH [light|dark] [SCREENSHOT.png]

Opens the page, and prints one JSON object: every request, every message on the console, and what QUESTION
finds in the page once it is loaded.
"""

import json
import os
import sys

QUESTION = """
JSON.stringify({
  innerWidth: innerWidth,
  scrollWidth: document.documentElement.scrollWidth,
  height: document.documentElement.scrollHeight,
  title: document.title,
  text: document.body.innerText,
  images: [...document.images].map(i => [i.complete, i.naturalWidth, i.naturalHeight]),
  charts: [...document.querySelectorAll('svg')].map(s => { const b = s.getBoundingClientRect();
    return [b.width, b.height, getComputedStyle(s).visibility, b.left, b.right]; }),
  tables: [...document.querySelectorAll('table')].map(t => { const b = t.getBoundingClientRect();
    return [b.width, b.height]; }),
  scripts: document.scripts.length,
  ink: getComputedStyle(document.body).color,
  paper: getComputedStyle(document.body).backgroundColor
})
"""


def main(page, width, scheme="light", screenshot=None):
    """Loads the page and prints what there is to say about it."""
    os.environ["QT_QPA_PLATFORM"] = "offscreen"
    # Containers run as root and without user namespaces, where Chromium's sandbox refuses to start; the page
    # is one that the test has written.
    os.environ["QTWEBENGINE_DISABLE_SANDBOX"] = "1"
    preferred = {"dark": 0, "light": 1}[scheme]  # blink::mojom::PreferredColorScheme
    os.environ["QTWEBENGINE_CHROMIUM_FLAGS"] = f"--blink-settings=preferredColorScheme={preferred}"
    from PySide6.QtCore import QTimer, QUrl
    from PySide6.QtWebEngineCore import QWebEnginePage, QWebEngineProfile, QWebEngineUrlRequestInterceptor
    from PySide6.QtWebEngineWidgets import QWebEngineView
    from PySide6.QtWidgets import QApplication

    requests, console = [], []

    class Interceptor(QWebEngineUrlRequestInterceptor):
        def interceptRequest(self, info):  # noqa: N802, Qt's name
            requests.append(info.requestUrl().toString()[:200])

    class Page(QWebEnginePage):
        def javaScriptConsoleMessage(self, level, message, line, source):  # noqa: N802, Qt's name
            console.append(f"{level.name}: {message} (line {line})")

    application = QApplication(["browser"])
    profile, interceptor = QWebEngineProfile(), Interceptor()
    profile.setUrlRequestInterceptor(interceptor)
    view = QWebEngineView()
    view.setPage(Page(profile, view))
    view.resize(int(width), 844)
    view.show()

    def report(answer):
        print(json.dumps(json.loads(answer) | {"requests": requests, "console": console}), flush=True)
        if screenshot:
            view.resize(int(width), min(json.loads(answer)["height"], 16000))
            QTimer.singleShot(1500, lambda: (view.grab().save(screenshot), application.quit()))
        else:
            application.quit()

    def loaded(well):
        if not well:
            print(json.dumps({"failed": page}), flush=True)
            application.quit()
        QTimer.singleShot(300, lambda: view.page().runJavaScript(QUESTION, report))

    view.loadFinished.connect(loaded)
    view.load(QUrl.fromLocalFile(os.path.abspath(page)))  # noqa: PTH100, nothing else is needed of pathlib
    QTimer.singleShot(60_000, application.quit)
    application.exec()
    view.setPage(None)


if __name__ == "__main__":
    main(*sys.argv[1:])
