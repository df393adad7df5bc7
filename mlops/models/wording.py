"""Numbers in the sentences that people read."""

from __future__ import annotations


def number(value: float) -> str:
    """A number as people write it: three decimals below 1, four digits above.

    >>> number(0.4123), number(-0.00042), number(12.3456), number(0.0), number(1234.5)
    ('.412', '−.00042', '12.35', '0', '1,234')
    """
    size = abs(value)
    if size >= 1000:
        text = f"{size:,.0f}"
    elif size >= 1:
        text = f"{size:.4g}"
    elif size >= 0.0005:
        text = f"{size:.3f}".lstrip("0")
    else:
        text = f"{size:.5f}".rstrip("0").lstrip("0").removesuffix(".") or "0"
    return f"−{text}" if value < 0 and text != "0" else text


def signed(value: float) -> str:
    """Likewise, with a plus.

    >>> signed(0.017), signed(-0.004), signed(0.0)
    ('+.017', '−.004', '0')
    """
    text = number(value)
    return text if value <= 0 else f"+{text}"
