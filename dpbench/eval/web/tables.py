"""Small tables of pages."""

from collections.abc import Iterable, Sequence

from dpbench.eval.web.markup import Markup, tag


def grid(
    heads: Sequence[str], rows: Iterable[Sequence[str]], *, numbers_from: int
) -> Markup:
    """Draw a small table; columns from ``numbers_from`` on are set right."""
    head = tag(
        "tr",
        *(
            tag("th", text, scope="col", class_="num" if i >= numbers_from else None)
            for i, text in enumerate(heads)
        ),
    )
    body = (
        tag(
            "tr",
            *(
                tag("td", text, class_="num" if i >= numbers_from else None)
                for i, text in enumerate(row)
            ),
        )
        for row in rows
    )
    table = tag("table", tag("thead", head), tag("tbody", *body))
    return tag("div", table, class_="scroll", tabindex="0")
