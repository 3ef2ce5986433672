"""Section 4: rows as they lie in state.db, and what they mean to whoever holds the keys."""

import json
from typing import Any

import ormsgpack
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from demo_parts.agents import SEALED, Files, agent, database, keyring, thread_of
from demo_parts.checks import expect
from demo_parts.screen import Screen, cut, size
from sealpoint import Context, is_sealed
from support_agent import Conversation


def show(screen: Screen, files: Files, acme: Conversation, globex: Conversation) -> None:
    screen.heading("4. What is in the database")
    screen.say("The newest checkpoint of acme, and a pending write of globex, read with plain SQL; below each, what it opens to.")
    thread, other = thread_of(acme.tenant), thread_of(globex.tenant)
    with database(files.state(SEALED)) as db:
        newest = "SELECT checkpoint_id, checkpoint, metadata FROM checkpoints WHERE thread_id = ? ORDER BY checkpoint_id DESC LIMIT 1"
        checkpoint_id, blob, raw_metadata = db.execute(newest, (thread,)).fetchone()
        asked = (
            "SELECT checkpoint_id, task_id, value FROM writes WHERE thread_id = ? AND channel = '__interrupt__' ORDER BY checkpoint_id DESC"
        )
        write_id, task, write = db.execute(asked, (other,)).fetchone()
    metadata, checkpoint = json.loads(raw_metadata), ormsgpack.unpackb(blob)
    _metadata(screen, files, acme, metadata)
    for channel in ("case_note", "messages"):
        version = checkpoint["channel_versions"][channel]
        context = Context(tenant=acme.tenant, purpose="langgraph.channel", thread=thread, ns="", channel=channel, version=version)
        _value(screen, files, f"checkpoints.checkpoint, channel {channel}", checkpoint["channel_values"][channel], context)
    context = Context(
        tenant=globex.tenant, purpose="langgraph.write", thread=other, ns="", checkpoint=write_id, task=task, channel="__interrupt__"
    )
    _value(screen, files, "writes.value, channel __interrupt__", write, context)
    _visible(screen, files, thread, checkpoint_id, checkpoint, metadata)


def _metadata(screen: Screen, files: Files, case: Conversation, stored: dict[str, Any]) -> None:
    screen.line(f"    {screen.style('checkpoints.metadata', 'strong')}")
    raw = json.dumps(stored)
    expect(case.requester not in raw, "the requester's name is readable in the metadata")
    with agent(files, SEALED) as sealed:
        found = sealed.saver.get_tuple(case.config(thread_of(case.tenant)))
    expect(found and found.metadata.get("requester") == case.requester, "the metadata does not open to what was put there")
    screen.entry("  stored", cut(raw, screen.width - 14), "dim", label_width=8)
    screen.entry("  opened", json.dumps({"requester": case.requester}), "good", label_width=8)


def _value(screen: Screen, files: Files, where: str, stored: bytes, context: Context) -> None:
    expect(is_sealed(stored), f"{where} is not sealed")
    with keyring(files) as keys:
        content_type, payload = keys.open_typed(stored, context)
    value = JsonPlusSerializer().loads_typed((content_type, payload))
    screen.line(f"    {screen.style(where, 'strong')}")
    text = f"{stored[:16].hex(' ')} …"
    screen.entry("  stored", f"{text} ({size(len(stored))})", "dim", label_width=8)
    screen.entry("  opened", cut(f"{content_type}, {size(len(payload))}: {_meaning(value)}", screen.width - 14), "good", label_width=8)


def _meaning(value: Any) -> str:
    if isinstance(value, list) and len(value) > 1:
        return f'{len(value)} messages, the last one "{value[-1].text}"'
    if isinstance(value, (list, tuple)):
        return json.dumps(value[0].value, ensure_ascii=False)
    return json.dumps(value, ensure_ascii=False)


def _visible(screen: Screen, files: Files, thread: str, checkpoint_id: str, checkpoint: dict[str, Any], metadata: dict[str, Any]) -> None:
    with database(files.keys) as db:
        tenants = [row[0] for row in db.execute("SELECT tenant FROM sealpoint_tenants ORDER BY tenant")]
    channels = [name for name in checkpoint["channel_versions"] if not name.startswith(("__", "branch:"))]
    nodes = [name for name in checkpoint["versions_seen"] if not name.startswith("__")]
    screen.say("What stays visible, because savers and LangGraph look rows up by it:")
    for label, text in (
        ("ids", f"thread {thread}, checkpoint {checkpoint_id}, its parent, its tasks"),
        ("names", f"channels {', '.join(channels)}; nodes {', '.join(nodes)}"),
        ("versions", f"how often each channel changed: messages {checkpoint['channel_versions']['messages'].split('.')[0].lstrip('0')}"),
        ("metadata", ", ".join(f"{key} {metadata[key]}" for key in ("source", "step"))),
        ("time and size", f"{checkpoint['ts']}; number of rows, sizes (small values are padded)"),
        ("tenants", f"{', '.join(tenants)}, with the ages of their keys, in keys.db"),
    ):
        screen.entry(label, text, label_width=13)
