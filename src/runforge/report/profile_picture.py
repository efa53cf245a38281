"""The picture of a profile: one bar, cut into the parts of a step."""

from __future__ import annotations

from functools import partial

from matplotlib.figure import Figure as Picture

from runforge.profile_file import Profile
from runforge.report.canvas import colour, drawn


def profile_picture(profile: Profile) -> bytes:
    """Milliseconds of each part, the same colour for the same part always."""
    return drawn(7.0, 0.34 * len(profile.parts_ms) + 1.2, partial(_draw, profile))


def _draw(profile: Profile, picture: Picture) -> None:
    axes = picture.subplots()
    names = list(profile.parts_ms)
    values = [profile.parts_ms[name] for name in names]
    bars = axes.barh(names, values, color=[colour(number) for number in range(len(names))])
    texts = [f"{profile.parts_ms[name]:.3g} ms, {profile.share(name):.0%}" for name in names]
    axes.bar_label(bars, texts, padding=4)
    axes.invert_yaxis()
    axes.margins(x=0.22)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("milliseconds of a step")
    title = f"A step of {profile.batch_size} samples: {profile.step_ms:.3g} ms ({profile.device})"
    axes.set_title(title)
