"""The pages say what is true: their Python runs, their links lead somewhere."""

import base64
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("*/*.md")]
README = (ROOT / "README.md").read_text()


def python_blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page, re.DOTALL)


@pytest.fixture
def names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the README's examples take as given: a graph builder, its input, a KEK, a folder."""
    from langgraph.graph import END, START, MessagesState, StateGraph

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEALPOINT_KEK", base64.b64encode(bytes(range(32))).decode())
    builder = StateGraph(MessagesState)
    builder.add_node("reply", lambda state: {"messages": [("ai", "the word is quicksilver")]})
    builder.add_edge(START, "reply")
    builder.add_edge("reply", END)
    return {"builder": builder, "inputs": {"messages": [("user", "say quicksilver")]}}


def test_the_readmes_ten_lines_run_and_leave_no_plaintext(names: dict[str, Any], tmp_path: Path) -> None:
    exec(python_blocks(README)[0], names)  # noqa: S102
    files = {path.name for path in tmp_path.iterdir()}
    assert {"keys.db", "state.db"} <= files
    for path in tmp_path.iterdir():
        assert b"quicksilver" not in path.read_bytes(), path.name


def test_the_readmes_other_examples_run(names: dict[str, Any]) -> None:
    from sealpoint import Keyring

    with Keyring.connect("memory:", kek="env:SEALPOINT_KEK") as keyring:
        names["keyring"] = keyring
        blocks = python_blocks(README)[1:]
        assert blocks
        for block in blocks:
            exec(block, names)  # noqa: S102


def test_the_guides_stores_and_caches_run(names: dict[str, Any]) -> None:
    from sealpoint import Keyring

    section = (ROOT / "docs" / "GUIDE.md").read_text().split("## Stores and caches\n")[1].split("\n## ")[0]
    with Keyring.connect("memory:", kek="env:SEALPOINT_KEK") as keyring:
        names["keyring"] = keyring
        names["embed_texts"] = lambda texts: [[len(text), text.count("n"), 1] for text in texts]
        assert len(python_blocks(section)) == 3
        for block in python_blocks(section):
            exec(block, names)  # noqa: S102
    assert [item.value["text"] for item in names["found"]] == ["no nuts"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith(("http:", "https:")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_guides_migration_runs(names: dict[str, Any]) -> None:
    from langgraph.checkpoint.sqlite import SqliteSaver

    from sealpoint import Keyring
    from sealpoint.scan import scan

    section = (ROOT / "docs" / "GUIDE.md").read_text().split("## Migrating\n")[1].split("\n## ")[0]
    with SqliteSaver.from_conn_string("old.db") as inner:
        names["builder"].compile(checkpointer=inner).invoke(names["inputs"], {"configurable": {"thread_id": "t1", "workspace_id": "acme"}})
    with Keyring.connect("memory:", kek="env:SEALPOINT_KEK") as keyring:
        names["keyring"] = keyring
        first, second = python_blocks(section)
        exec(first, names)  # noqa: S102
        assert names["migration"].counts()["acme"]["checkpoints"] > 0
        assert not scan("old.db").ok
        exec(second, names)  # noqa: S102
    assert scan("old.db").ok


def test_the_guides_client_keys_run(names: dict[str, Any]) -> None:
    from sealpoint import Keyring

    section = (ROOT / "docs" / "GUIDE.md").read_text().split("## Client keys\n")[1].split("\n## ")[0]
    with Keyring.connect("memory:", kek="env:SEALPOINT_KEK") as keyring:
        names["keyring"] = keyring
        (block,) = python_blocks(section)
        exec(block, names)  # noqa: S102
    assert names["text"].startswith("sealpoint-key:v1:")


def test_the_guides_life_of_keys_runs(names: dict[str, Any]) -> None:
    from sealpoint import Keyring

    section = (ROOT / "docs" / "GUIDE.md").read_text().split("## The life of keys\n")[1].split("\n## ")[0]
    with Keyring.connect("memory:", kek="env:SEALPOINT_KEK") as keyring:
        keyring.load("acme")
        names["keyring"] = keyring
        (block,) = python_blocks(section)
        exec(block, names)  # noqa: S102
        assert keyring.tombstones()[0].tenant == "acme"


def test_every_error_code_has_its_remedy() -> None:
    from sealpoint._native import ERROR_CODES

    listed = re.findall(r"`([a-z_]+)`", "".join(re.findall(r"^\| (`.*?) \|", (ROOT / "docs/ERRORS.md").read_text(), re.MULTILINE)))
    assert sorted(listed) == sorted(ERROR_CODES)


def test_the_specifications_errors_and_limits_are_the_cores() -> None:
    from sealpoint._native import ERROR_CODES, LIMITS

    spec = (ROOT / "docs/SPEC.md").read_text()
    errors = dict(re.findall(r"^\| `([a-z_]+)` \| (yes|no) \|", spec, re.MULTILINE))
    assert {code: "yes" if retryable else "no" for code, retryable in ERROR_CODES.items()} == errors
    for name in LIMITS:
        assert f"`{name}`" in spec, name
