"""Texts that somebody who may only write events would put where a person or a machine reads on."""

from __future__ import annotations

FORGED = "forged"
TEXTS = (
    f"x\n12:00:00 ERROR   {FORGED}",
    f'x\r\n{{"level":"error","message":"{FORGED}"}}',
    f'x"}} 1\n{FORGED}_total 666',
    f'x\\"}} 1\\n{FORGED}_total 666',
    f"x\\\n{FORGED}_total 666",
    "back\\slash\\",
    "quote\"quote'quote`",
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "\x1b]8;;http://127.0.0.1/\x07click\x1b]8;;\x07",
    "\x9b31mred",
    "\x90device\x9c",
    "line\u2028line\u2029line\x85line\x0bline\x0cline\x1cline",
    "\u202egnp.exe\u202c",
    "\u2066isolate\u2069\u200f\u061c",
    "zero\u200bwidth\u200d\ufeff",
    "nul\x00bel\x07del\x7f",
    "[bold red]markup[/bold red]",
    "[/]",
    "[link=http://127.0.0.1/]click[/link]",
    "[@click=app.bell]x[/]",
    "%s %n %(levelname)s {0} {levelname}",
    "${HOME} $(id) `id` ; id | id & id",
    "<script>alert(1)</script>",
    "le\t\ttab",
    "\N{COMBINING ENCLOSING KEYCAP}" * 40,
    "\U000e0001\U000e0041tag",
    "\U0001f600" * 50,
    "x" * 10_000,
)
