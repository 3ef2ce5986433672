"""Section 5: are the conversation's words in the files?"""

from demo_parts.agents import ENCRYPTED, LABELS, SEALED, UNSEALED, Files
from demo_parts.checks import expect
from demo_parts.screen import Screen
from support_agent import Conversation, distinctive_words, found


def words_of(*cases: Conversation) -> list[str]:
    """The distinctive words that occur in what was played of these cases."""
    lines = [line for case in cases for line in case.lines]
    parts = [case.requester for case in cases]
    for line in lines:
        parts += [line["content"], line.get("note", ""), *map(str, line.get("approval", {}).values())]
    played = "\n".join(parts)
    return [word for word in distinctive_words(*(case.tenant for case in cases)) if word in played]


def show(screen: Screen, files: Files, *cases: Conversation) -> int:
    screen.heading("5. The scan")
    with screen.working("collecting words"):
        words = words_of(*cases)
    screen.say(
        f"{len(words):,} words that only these conversations can have put there (names, card numbers, diagnoses, serial numbers), searched "
        "in every byte of the databases and of what SQLite keeps beside them:"
    )
    hits: dict[str, list[str]] = {}
    table = [("", "files", "bytes", "words found")]
    for label in LABELS:
        main = [files.state(label)] + ([files.keys] if label == SEALED else [])
        scanned = files.with_companions(*main)
        with screen.working(f"scanning {files.state(label).name}"):
            hits[label] = found(words, *scanned)
        names = ", ".join(file.name for file in scanned).replace(f", {main[0].name}-", ", -")
        table.append((label, names, f"{sum(file.stat().st_size for file in scanned):,}", f"{len(hits[label]):,} of {len(words):,}"))
    screen.rows(table, head=True)
    screen.say(
        f"EncryptedSerializer leaves the metadata of every checkpoint in the clear; what was found: {', '.join(hits[ENCRYPTED])}. "
        "In the sealed files there is none."
    )
    expect(len(hits[UNSEALED]) >= 0.99 * len(words), "the scan misses words in the unsealed database, so it proves nothing")
    expect(hits[ENCRYPTED], "EncryptedSerializer leaks nothing any more: this section is out of date")
    expect(not hits[SEALED], f"the sealed files hold words of the conversation: {', '.join(hits[SEALED])}")
    return len(words)
