"""`list` with filters on what is sealed, on what is not, and on both."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from sealpoint import Keyring
from sealpoint.errors import InvalidArgumentError
from sealpoint.langgraph import SealedSaver, fixed

FILTERS: list[Any] = [
    None,
    {},
    {"source": "loop"},
    {"step": 3},
    {"run_id": "run-1"},
    {"customer": "even"},
    {"customer": "nobody"},
    {"score": 2},
    {"score": None},
    {"missing": None},
    {"flag": True},
    {"customer": "even", "source": "loop"},
    {"customer": "odd", "step": 3},
    {"parents": {}},
]


def config(thread: str, ns: str | None = "", checkpoint: str | None = None) -> Any:
    conf: dict[str, Any] = {"thread_id": thread}
    if ns is not None:
        conf["checkpoint_ns"] = ns
    if checkpoint is not None:
        conf["checkpoint_id"] = checkpoint
    return {"configurable": conf}


def rows() -> list[Any]:
    out = []
    for number in range(8):
        thread, ns = ("t", "") if number < 5 else ("t", "sub") if number < 7 else ("u", "")
        values = {"role": f"value {number}"}
        checkpoint = {
            "v": 4,
            "id": f"{number:04}",
            "ts": "",
            "channel_values": values,
            "channel_versions": {"role": number},
            "versions_seen": {},
        }
        metadata = {
            "source": "loop" if number % 2 else "input",
            "step": number,
            "parents": {},
            "run_id": f"run-{number % 2}",
            "customer": "odd" if number % 2 else "even",
            "flag": number == 1,
            **({"score": number} if number < 3 else {}),
        }
        out.append((config(thread, ns), checkpoint, metadata, {"role": number}))
    return out


QUERIES: list[Any] = [
    {},
    {"limit": 0},
    {"limit": 1},
    {"limit": 2},
    {"limit": 100},
    {"before": config("t", "", "0003")},
    {"before": config("t", "", "0003"), "limit": 1},
]


def shown(found: Any) -> Any:
    return [(row.config["configurable"], row.checkpoint["channel_values"], dict(sorted(row.metadata.items()))) for row in found]


@pytest.mark.parametrize("where", [config("t"), config("t", None), config("t", "sub"), config("t", "", "0002"), config("none"), None])
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_every_query_equals_bare(kind: str, where: Any, keyring: Keyring, tmp_path: Path) -> None:
    with (
        SqliteSaver.from_conn_string(str(tmp_path / "bare.db")) as bare_sqlite,
        SqliteSaver.from_conn_string(str(tmp_path / "sealed.db")) as sealed_sqlite,
    ):
        bare: Any = InMemorySaver() if kind == "memory" else bare_sqlite
        sealed = SealedSaver(InMemorySaver() if kind == "memory" else sealed_sqlite, keyring, tenant=fixed("acme"))
        for row in rows():
            bare.put(*row)
            sealed.put(*row)
        compared = 0
        for filter in FILTERS:
            for query in QUERIES:
                expected = shown(bare.list(where, filter=filter, **query))
                assert shown(sealed.list(where, filter=filter, **query)) == expected, (filter, query)
                compared += len(expected)
        assert compared > 0 or where == config("none")


def test_async_filters_equal_bare(keyring: Keyring, tmp_path: Path) -> None:
    async def compare() -> int:
        compared = 0
        async with (
            AsyncSqliteSaver.from_conn_string(str(tmp_path / "bare.db")) as bare,
            AsyncSqliteSaver.from_conn_string(str(tmp_path / "sealed.db")) as inner,
        ):
            sealed = SealedSaver(inner, keyring, tenant=fixed("acme"))
            for row in rows():
                await bare.aput(*row)
                await sealed.aput(*row)
            for filter in FILTERS:
                for query in QUERIES:
                    expected = shown([row async for row in bare.alist(config("t"), filter=filter, **query)])
                    assert shown([row async for row in sealed.alist(config("t"), filter=filter, **query)]) == expected
                    compared += len(expected)
        return compared

    assert asyncio.run(compare()) > 50


def test_strict_filters(keyring: Keyring) -> None:
    saver = SealedSaver(InMemorySaver(), keyring, tenant=fixed("acme"), strict_filters=True)
    for row in rows():
        saver.put(*row)
    assert len(list(saver.list(config("t"), filter={"source": "loop"}))) == 2
    for listing in (saver.list, saver.alist):
        with pytest.raises(InvalidArgumentError, match="customer"):
            listing(config("t"), filter={"customer": "odd", "source": "loop"})


def test_leaving_early_frees_the_inner_saver(keyring: Keyring, tmp_path: Path) -> None:
    """SqliteSaver and AsyncSqliteSaver hold their lock while a list is open: a limit that was counted here must not keep it."""

    async def limited() -> Any:
        async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "state.db")) as inner:
            saver = SealedSaver(inner, keyring, tenant=fixed("acme"))
            for row in rows():
                await saver.aput(*row)
            found = saver.alist(config("t"), filter={"customer": "even"}, limit=1)
            first = [row async for row in found]
            return first, await asyncio.wait_for(saver.aget_tuple(config("t")), timeout=5)

    first, latest = asyncio.run(limited())
    assert len(first) == 1
    assert latest.checkpoint["id"] == "0004"
