"""Code lines of a folder: docstrings, comments and blank lines do not count.

    python tests/count_lines.py [folder]

prints the total and that of each room, by default of `jaxsoc/`.
"""

import ast
import io
import sys
import tokenize
from collections import Counter
from pathlib import Path

_SILENT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


def code_lines(source: str) -> int:
    """Lines that bear at least one token which is no comment and no docstring."""
    said = set()
    for node in ast.walk(ast.parse(source)):
        # A string that stands alone documents what it stands in or follows.
        match node:
            case ast.Expr(value=ast.Constant(value=str())):
                said |= set(range(node.lineno, node.end_lineno + 1))
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _SILENT:
            lines |= set(range(token.start[0], token.end[0] + 1))
    return len(lines - said)


def count(folder: Path) -> Counter[str]:
    """Code lines by room, the first folder or file below the one given."""
    found: Counter[str] = Counter()
    for path in sorted(folder.rglob("*.py")):
        room = path.relative_to(folder).parts[0]
        found[room] += code_lines(path.read_text(encoding="utf-8"))
    return found


if __name__ == "__main__":
    default = Path(__file__).parents[1] / "jaxsoc"
    rooms = count(Path(sys.argv[1]) if len(sys.argv) > 1 else default)
    for room, lines in [*sorted(rooms.items()), ("total", rooms.total())]:
        print(f"{room:<14} {lines:>6}")
