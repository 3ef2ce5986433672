"""Section 5: is everything sealed, and are the conversation's words in the files?"""

from demo_parts.agents import ENCRYPTED, LABELS, SEALED, UNSEALED, Files
from demo_parts.checks import expect
from demo_parts.screen import Screen
from sealpoint.scan import Report, Verdict, scan
from support_agent import Conversation, distinctive_words


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
    secret = files.folder / "words.txt"
    secret.write_text("\n".join(words), encoding="utf-8")
    screen.say(
        f"{len(words):,} words that only these conversations can have put there (names, card numbers, diagnoses, serial numbers), searched "
        "in every row and in every byte of the databases and of what SQLite keeps beside them, by sealpoint scan --expect, which also "
        "judges each value:"
    )
    hits: dict[str, list[str]] = {}
    reports: dict[str, Report] = {}
    table = [("", "files", "bytes", "values sealed, not sealed", "words found")]
    for label in LABELS:
        main = [files.state(label)] + ([files.keys] if label == SEALED else [])
        with screen.working(f"scanning {files.state(label).name}"):
            found = [scan(file, expect=secret) for file in main]
        reports[label] = found[0]
        lines = {hit.line for report in found for hit in report.hits}
        hits[label] = [words[line - 1] for line in sorted(lines)]
        names = ", ".join(file.name for file in files.with_companions(*main)).replace(f", {main[0].name}-", ", -")
        judged = [
            sum(finding.values for report in found for finding in report.of(verdict)) for verdict in (Verdict.SEALED, Verdict.UNSEALED)
        ]
        searched = sum(report.searched_bytes for report in found)
        table.append((label, names, f"{searched:,}", f"{judged[0]:,}, {judged[1]:,}", f"{len(lines):,} of {len(words):,}"))
    screen.rows(table, head=True)
    screen.say(
        f"EncryptedSerializer leaves the metadata of every checkpoint in the clear; what was found: {', '.join(hits[ENCRYPTED])}. "
        f"In the sealed files there is none. What the scan says of {files.state(SEALED).name}: {reports[SEALED].summary}."
    )
    expect(len(hits[UNSEALED]) >= 0.99 * len(words), "the scan misses words in the unsealed database, so it proves nothing")
    expect(hits[ENCRYPTED], "EncryptedSerializer leaks nothing any more: this section is out of date")
    expect(not hits[SEALED], f"the sealed files hold words of the conversation: {', '.join(hits[SEALED])}")
    expect(reports[SEALED].ok, f"the scan finds unsealed data in the sealed database: {reports[SEALED].summary}")
    expect(not reports[UNSEALED].sealed and not reports[ENCRYPTED].sealed, "the scan takes unsealed data for sealed")
    return len(words)
