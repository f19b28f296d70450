"""Parameter names of github.com/Res2Net/Res2Net-PretrainedModels, to initialise a backbone from."""

_COUNTS = (3, 4, 6, 3)  # blocks of every stage
_SCALES = 4


def _res2net50(stem: dict[str, str], shortcut: tuple[int, int]) -> dict[str, str | None]:
    """The names of a Res2Net-50; `shortcut` has the positions of its two layers."""
    layers = {f"{kind}{i}": f"conv{i}/{ours}" for kind, ours in _KINDS.items() for i in (1, 3)}
    layers |= {
        f"{kind}s.{i}": f"conv2_{i + 1}/{ours}"
        for kind, ours in _KINDS.items()
        for i in range(_SCALES - 1)
    }
    blocks = {
        f"layer{stage}.{i}.{theirs}": f"block{stage}_{i + 1}/{ours}"
        for stage, count in enumerate(_COUNTS, start=1)
        for i in range(count)
        for theirs, ours in layers.items()
    }
    shortcuts = {
        f"layer{stage}.0.downsample.{i}": f"block{stage}_1/shortcut/{ours}"
        for stage in range(1, 5)
        for i, ours in zip(shortcut, _KINDS.values(), strict=True)
    }
    return stem | blocks | shortcuts | {"fc": None}


_KINDS = {"conv": "conv", "bn": "norm"}

BACKBONES = {
    "res2net50": _res2net50({"conv1": "stem/conv", "bn1": "stem/norm"}, (0, 1)),
    "res2net50_v1b": _res2net50(
        {
            "conv1.0": "stem1/conv",
            "conv1.1": "stem1/norm",
            "conv1.3": "stem2/conv",
            "conv1.4": "stem2/norm",
            "conv1.6": "stem3/conv",
            "bn1": "stem3/norm",
        },
        (1, 2),
    ),
}
