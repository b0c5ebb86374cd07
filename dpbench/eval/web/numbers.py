"""How numbers are written on every page and in every table."""


def number(value: float | None) -> str:
    """Write a number with three significant digits; a dash where there is none."""
    if value is None:
        return "–"
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1e6 or size < 1e-4:
        return _short_exponent(f"{value:.2e}")
    return f"{value:.{_decimals(size)}f}"


def _decimals(size: float) -> int:
    """Decimals that three significant digits take."""
    digits = 0
    while digits < 7 and round(size, digits) < 10 ** (2 - digits):
        digits += 1
    return digits


def spread_text(value: float, half: float) -> str:
    """Write half an interval with the decimals of its value, or one digit at least."""
    size = abs(value)
    if 1e-4 <= size < 1e6:
        text = f"{half:.{_decimals(size)}f}"
        if float(text) > 0 or half == 0:
            return text
    return _short_exponent(f"{half:.0e}") if half < 1e-4 else f"{half:.1g}"


def _short_exponent(text: str) -> str:
    """Write 1.2e-05 as 1.2e-5."""
    digits, _, exponent = text.partition("e")
    return f"{digits}e{int(exponent)}"
