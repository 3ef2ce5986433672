"""What the support agent can do: three look-ups in the tenant's back office, and a refund."""

import hashlib
import json

from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, tool

from support_agent.conversation import load_conversation, tenant_of

DENIED = "Refund not approved by {by}: {note}"


@tool
def lookup_order(order_id: str, config: RunnableConfig) -> str:
    """The order with its payment, tracking and internal notes."""
    return _document(config, "lookup_order", order_id)


@tool
def lookup_record(reference: str, config: RunnableConfig) -> str:
    """The record of a person or a site."""
    return _document(config, "lookup_record", reference)


@tool
def read_device(serial: str, config: RunnableConfig) -> str:
    """What a device reported: its events and samples."""
    return _document(config, "read_device", serial)


@tool
def refund(order_id: str, amount: float, reason: str, config: RunnableConfig) -> str:
    """Pay part of an order back to the card that paid it. Needs approval."""
    return refund_document(tenant_of(config), order_id, amount, reason)


TOOLS: dict[str, BaseTool] = {t.name: t for t in (lookup_order, lookup_record, read_device, refund)}


def refund_document(tenant: str, order_id: str, amount: float, reason: str) -> str:
    """The receipt. Its number depends on the refund alone, so a repeated run repeats it."""
    order = json.loads(load_conversation(tenant).documents["lookup_order", order_id])
    if amount > order["total"]:
        raise ValueError(f"cannot refund {amount:.2f} of {order['total']:.2f}")
    seed = f"{order_id} {amount:.2f} {reason}".encode()
    receipt = {
        "receipt": f"RF-{hashlib.sha256(seed).hexdigest()[:12].upper()}",
        "order_id": order_id,
        "refunded": amount,
        "currency": order["currency"],
        "card": order["payment"]["card"],
        "holder": order["payment"]["holder"],
        "reason": reason,
    }
    return json.dumps(receipt, ensure_ascii=False)


def _document(config: RunnableConfig, name: str, key: str) -> str:
    documents = load_conversation(tenant_of(config)).documents
    return documents.get((name, key)) or json.dumps({"error": f"{key} is unknown"})
