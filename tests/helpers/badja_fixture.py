"""A miniature of BADJA's folder, with what readers stumble over; its truth is stated by hand."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (48, 64)
USED = (8, 9, 10, 12, 13, 14, 15, 18, 19, 20, 22, 23, 24, 25, 28, 31, 32, 33, 35, 36)
PALETTE = [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0] + [0] * (
    252 * 3
)  # DAVIS 2017: objects 1 and 3 are red


def write_badja(root: Path) -> Path:
    """`camel`: frames 2 to 6, annotated at 2, 4, 6, four kinds of mask; `wolf` in extra_videos."""
    camel = [
        # Joint 9 is unseen, at a guessed place, in frame 2 and seen in 4. Joint 8 moves late.
        # Joint 36 is never labelled.
        _row("camel", 2, {8: (10.5, 20.25), 9: (30, 40)}, seen=(8,)),
        _row("camel", 4, {8: (10.5, 20.25), 9: (31, 50)}, seen=(8, 9)),
        _row("camel", 6, {8: (10.5, 23.25), 9: (31, 56)}, seen=(8, 9)),
    ]
    wolf = [_row("wolf", 1, {8: (1, 1)}, seen=(8,)), _row("wolf", 2, {8: (1, 1)}, seen=(8,))]
    for row in wolf:
        for key in ("image_path", "segmentation_path"):
            row[key] = row[key].replace("DAVIS/", "extra_videos/")
    (root / "joint_annotations").mkdir(parents=True)
    (root / "joint_annotations" / "camel.json").write_text(json.dumps(camel))
    (root / "joint_annotations" / "wolf.json").write_text(json.dumps(wolf))
    for frame in range(2, 7):
        write_frame(root, frame)
    return root


def write_frame(root: Path, frame: int) -> None:
    """The picture, of brightness 30 + 20 * frame, and the mask.

    Of frames 2 and 6 a palette, 3 LA, 4 L, 5 bilevel.
    """
    image, mask = (root / path for path in _paths("camel", frame))
    for path in (image, mask):
        path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*SIZE, 3), 30 + 20 * frame, np.uint8)).save(image)
    animal = np.zeros(SIZE, np.uint8)
    animal[8:32, 16:32] = 1
    if frame in (2, 6):
        animal[4:8, 16:32] = 2  # the rider, whose red is 0
        picture = Image.fromarray(animal)
        picture.putpalette(PALETTE)
    elif frame == 3:
        picture = Image.fromarray(np.stack([animal * 255, np.full_like(animal, 255)], -1))
    else:
        picture = Image.fromarray(animal * 255).convert("L" if frame == 4 else "1")
    assert picture.mode == {2: "P", 3: "LA", 4: "L", 5: "1", 6: "P"}[frame]
    picture.save(mask)


def _paths(name: str, frame: int) -> tuple[str, str]:
    folder = "DAVIS/{}/Full-Resolution/" + f"{name}/{frame:05d}"
    return folder.format("JPEGImages") + ".jpg", folder.format("Annotations") + ".png"


def _row(name: str, frame: int, places: dict, seen: tuple) -> dict:
    image, mask = _paths(name, frame)
    return {
        "segmentation_path": mask,
        "image_path": image,
        "visibility": [joint in seen for joint in range(37)],
        "joints": [list(places.get(joint, (0, 0))) for joint in range(37)],
    }
