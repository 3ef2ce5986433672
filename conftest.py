"""With SEALPOINT_STRICT=1 a skipped test is a failed run: nothing is left untested without a word."""

import os

import pytest


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    if os.environ.get("SEALPOINT_STRICT") == "1" and skipped and exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        reporter.write_line(f"SEALPOINT_STRICT=1: {len(skipped)} skipped test(s) count as failures", red=True)
