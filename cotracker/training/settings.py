"""The values that `seed`, `train` and `checkpoint` of a run can have; others are refused before anything is written."""

WHOLE, NUMBER = int, (int, float)
LIMITS = {  # of train.*: kind, least and largest value; None where null is allowed
    "steps": (WHOLE, 1, 10**9),
    "extra_steps": (WHOLE, 1, 10**9),
    "batch": (WHOLE, 1, 10**5),
    "accumulate": (WHOLE, 1, 10**5),
    "workers": (WHOLE, 0, 1000),
    "threads": (WHOLE, 1, 1000, None),
    "lr": (NUMBER, 0, 10),
    "warmup": (NUMBER, 0, 1),
    "weight_decay": (NUMBER, 0, 10),
    "clip": (NUMBER, 1e-9, 1e9),
    "ema": (NUMBER, 0, 0.999999),
    "most_skipped": (WHOLE, 1, 10**9),
    "log_every": (WHOLE, 1, 10**9),
    "save_every": (WHOLE, 1, 10**9),
    "evaluate_every": (WHOLE, 0, 10**9),
    "pictures_every": (WHOLE, 0, 10**9),
    "budget_minutes": (NUMBER, 0, 10**9, None),
    "timeout_minutes": (NUMBER, 0.01, 10**5),
}
CHOICES = {"precision": ("auto", "float32", "bfloat16", "float16"), "tf32": (True, False), "compile": (True, False),
           "lr_by_budget": (True, False), "cuda_graphs": (True, False), "draw_on_device": (True, False),
           "dry_run": (True, False)}  # fmt: skip

# Settings that a continued run may change: they do not touch what is computed, or only how it is dealt out, or rounded.
FREE_NAMES = """batch accumulate most_skipped log_every save_every evaluate_every pictures_every workers threads device
    budget_minutes timeout_minutes dry_run cuda_graphs draw_on_device"""
FREE = {"out", "data.root", "model.recompute"} | {f"train.{name}" for name in FREE_NAMES.split()}
FREE_GROUPS = ("card.", "evaluation.", "checkpoint.")


def check(settings: dict) -> None:
    """ValueError, one sentence, for a value of `seed` or `train` that no run can have."""
    if type(settings["seed"]) is not int or settings["seed"] < 0:
        raise ValueError(f"seed must be a whole number, 0 or more, not {settings['seed']}")
    _check_kinds(settings)
    t = settings["train"]
    for name, (kind, least, largest, *null) in LIMITS.items():
        value = t[name]
        if value is None and null:
            continue
        if isinstance(value, bool) or not isinstance(value, kind) or not least <= value <= largest:
            noun = "a whole number" if kind is WHOLE else "a number"
            raise ValueError(f"train.{name} must be {noun} from {least} to {largest}, not {value}")
    only = t["only"]
    if only is not None and not (
        isinstance(only, list) and only and all(isinstance(part, str) for part in only)
    ):
        raise ValueError(
            f"train.only must be a list of parts of the model, as [visibility], or null, not {only}"
        )
    _check_together(settings)
    _check_kept(settings["checkpoint"])
    for name, choices in CHOICES.items():
        if type(t[name]) is not type(choices[0]) or t[name] not in choices:
            raise ValueError(f"train.{name} must be {_listed(choices)}, not {t[name]}")


def _check_together(settings: dict) -> None:
    t = settings["train"]
    if t["lr_by_budget"] is True and not t["budget_minutes"]:
        raise ValueError(
            "train.lr_by_budget=true needs train.budget_minutes, which the rate then follows"
        )
    if t["cuda_graphs"] is True and (
        t["accumulate"] > 1 or t["precision"] == "float16" or t["compile"] is True
    ):
        raise ValueError(
            "train.cuda_graphs=true is for one batch a step, not in float16 and not compiled"
        )
    if t["cuda_graphs"] is True and settings["model"].get("recompute"):
        raise ValueError(
            "train.cuda_graphs=true keeps what model.recompute=true would compute again: leave one of them out"
        )


def _check_kept(kept: dict) -> None:
    size = kept["shard_mb"]
    if size is not None and (
        isinstance(size, bool) or not isinstance(size, NUMBER) or not 0.01 <= size <= 10**6
    ):
        raise ValueError(
            f"checkpoint.shard_mb must be a number from 0.01 to 1000000, or null, not {size}"
        )
    if type(kept["bfloat16_moments"]) is not bool:
        raise ValueError(
            f"checkpoint.bfloat16_moments must be true or false, not {kept['bfloat16_moments']}"
        )


def _check_kinds(settings: dict) -> None:
    for group in ("train", "evaluation", "card", "checkpoint"):
        if not isinstance(settings[group], dict):
            raise ValueError(
                f"{group} must be settings with names, {group}.NAME=…, not {settings[group]}"
            )
    for name, value in (("out", settings["out"]), ("train.device", settings["train"]["device"])):
        if not isinstance(value, str):
            raise ValueError(f"{name} must be a name, not {value}")
    init_from = settings["train"]["init_from"]
    if not isinstance(init_from, str | None):
        raise ValueError(
            f"train.init_from must be the file or the name of a checkpoint, or null, not {init_from}"
        )
    if not isinstance(settings["evaluation"].get("benchmarks"), dict):
        raise ValueError(
            "evaluation.benchmarks must be benchmarks by name: +benchmark@evaluation.benchmarks.NAME=NAME"
        )


def unlike(then: dict, now: dict) -> str:
    """`key was … and is now …` for up to five settings that a continued run may not change, or ""."""
    then, now = _flat(then), _flat(now)
    free = (
        FREE - {"train.budget_minutes"} if now.get("train.lr_by_budget") else FREE
    )  # the rate follows it
    keys = [
        k
        for k in sorted(then.keys() | now.keys())
        if k not in free and not k.startswith(FREE_GROUPS)
    ]
    differing = [k for k in keys if then.get(k) != now.get(k)]
    return ", ".join(f"{k} was {then.get(k)} and is now {now.get(k)}" for k in differing[:5])


def _listed(choices: tuple) -> str:
    words = [str(choice).lower() if isinstance(choice, bool) else choice for choice in choices]
    return f"{', '.join(words[:-1])} or {words[-1]}"


def _flat(settings: dict, prefix: str = "") -> dict:
    flat = {}
    for key, value in settings.items():
        flat |= (
            _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        )
    return flat
