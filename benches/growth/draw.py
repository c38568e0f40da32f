"""Curves as SVG, both axes logarithmic."""

import math

COLOURS = ["#1f77b4", "#2ca02c", "#d62728", "#9467bd", "#ff7f0e", "#17becf", "#8c564b", "#7f7f7f"]


def power(value):
    return f"{10 ** value:g}" if -4 < value < 5 else f"1e{value}"


def curves(file, title, series):
    """series: name → [(size, cost)]; a name that ends in `, nested` is dashed in the colour of the one before the comma."""
    width, height, left, top, right, bottom = 760, 420, 70, 30, 170, 50
    points = [point for line in series.values() for point in line]
    sizes, costs = [size for size, _ in points], [cost for _, cost in points]
    low, high = math.floor(math.log10(min(costs))), math.ceil(math.log10(max(costs)))
    first, last = math.log10(min(sizes)), math.log10(max(sizes))
    across = lambda size: left + (math.log10(size) - first) / max(last - first, 1e-9) * (width - left - right)
    up = lambda cost: height - bottom - (math.log10(cost) - low) / max(high - low, 1) * (height - top - bottom)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{left}" y="18" font-size="14">{title}</text>',
    ]
    for value in range(low, high + 1):
        y = up(10**value)
        parts.append(f'<line x1="{left}" x2="{width - right}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{power(value)}</text>')
    for size in sorted(set(sizes)):
        x = across(size)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{height - bottom}" stroke="#eee"/>')
        parts.append(f'<text x="{x:.1f}" y="{height - bottom + 18}" text-anchor="middle">{size}</text>')
    labels, colours = [], {}
    for name, line in series.items():
        colour = colours.setdefault(name.split(",")[0], COLOURS[len(colours) % len(COLOURS)])
        dash = ' stroke-dasharray="5 4"' if name.endswith(", nested") else ""
        places = [(across(size), up(cost)) for size, cost in line]
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
        labels.append([places[-1][1], name, colour])
    labels.sort()
    for before, label in zip([None, *labels], labels):
        # Labels do not lie over each other.
        label[0] = max(label[0], before[0] + 14) if before else label[0]
        parts.append(f'<text x="{width - right + 8}" y="{label[0] + 4:.1f}" fill="{label[2]}">{label[1]}</text>')
    file.write_text("\n".join([*parts, "</svg>"]) + "\n")
