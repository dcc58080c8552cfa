"""COCO keypoints: one JSON file of images, annotations and categories.

x and y are pixels whose centre is an integer, as indices of pixels. A category is an individual
with the names of its points; its annotation in an image has x, y, v for each: v is 2 where it is
seen, 1 where it is hidden, and 0, with x = y = 0, where its place is not known. An image's id is
the number of its frame from 0 on, which also ends its name; annotations count from 1.
"""

import json
import re
from pathlib import Path

import numpy as np

from cotracker.files import write_text
from cotracker.interchange.json_tracks import load
from cotracker.interchange.points import (
    empty_places,
    make_tracks,
    number_repeated,
    one_clip,
    point_individuals,
    point_names,
    shortest,
)
from cotracker.tracks import Tracks

ALONE = "object"  # the category of points without an individual
MEANING = {0: "not known", 1: "hidden", 2: "seen"}  # of v


def write(path: Path, tracks: Tracks, prefix: str = "", start: int = 0, suffix: str = ".png"):
    """The path of the JSON file; images are named PREFIXframe-NUMBER, with numbers from `start`."""
    return write_text(path, json.dumps(to_value(tracks, prefix, start, suffix)) + "\n")


def to_value(tracks: Tracks, prefix: str = "", start: int = 0, suffix: str = ".png") -> dict:
    """What `write` writes."""
    tracks = one_clip(tracks)
    names, owners = point_names(tracks), point_individuals(tracks)
    groups: dict[str, list[int]] = {}
    for n in range(len(names)):
        groups.setdefault(ALONE if owners is None else owners[n], []).append(n)
    frames = tracks.xy.shape[1]
    digits = len(str(max(start + frames - 1, 0)))
    height, width = tracks.size or (0, 0)
    images = [
        {
            "id": t,
            "file_name": f"{prefix}frame-{start + t:0{digits}d}{suffix}",
            "width": width,
            "height": height,
        }
        for t in range(frames)
    ]
    categories = [
        {"id": k, "name": owner, "keypoints": [names[n] for n in points], "skeleton": []}
        for k, (owner, points) in enumerate(groups.items(), 1)
    ]
    annotations = [
        {"id": number, "image_id": t, "category_id": k, **_annotation(tracks, t, points)}
        for number, (t, k, points) in enumerate(
            ((t, k, p) for t in range(frames) for k, p in enumerate(groups.values(), 1)), 1
        )
    ]
    return {"images": images, "annotations": annotations, "categories": categories}


def read(path: Path) -> Tracks:
    """The Tracks of a file of COCO keypoints of one video; a frame's number ends its image's name.

    Individuals are the `track_id` of annotations where they have one, else the categories; several
    of a category in the one image of labels are numbered, as in mouse1, mouse2.
    """
    return from_value(load(path), path)


def from_value(value: dict, path: Path, by_id: bool = False) -> Tracks:
    """As `read`, from a loaded file; by_id: an image's id is its frame's number."""
    try:
        images = {one["id"]: one for one in value["images"]}
        frames = {k: k if by_id else _frame_number(one, path) for k, one in images.items()}
        if len(set(frames.values())) < len(frames):
            raise ValueError(f"{path} has two images of one frame: give the images of one video")
        return _from_annotations(value, path, frames, list(images.values()))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} holds no COCO keypoints ({error}): write it again") from error


def _annotation(tracks: Tracks, frame: int, points: list[int]) -> dict:
    """keypoints, num_keypoints, bbox, area and iscrowd of one individual in one frame."""
    xy = list(zip(*(shortest(tracks.xy[0, frame, points, axis]) for axis in (0, 1))))
    seen = tracks.visible[0, frame, points].tolist()
    known = [None not in place for place in xy]
    keypoints: list[float] = []
    for place, there, shown in zip(xy, known, seen):
        keypoints += [*(place if there else (0.0, 0.0)), (2 if shown else 1) if there else 0]
    places = [place for place, there in zip(xy, known) if there] or [[0.0, 0.0]]
    (left, right), (top, bottom) = ((min(side), max(side)) for side in zip(*places))
    box = [left, top, right - left, bottom - top]
    area = box[2] * box[3]
    count = sum(known)
    return {
        "keypoints": keypoints,
        "num_keypoints": count,
        "bbox": box,
        "area": area,
        "iscrowd": 0,
    }


def _frame_number(image: dict, path: Path) -> int:
    digits = re.findall(r"\d+", Path(str(image["file_name"])).stem)
    if not digits or len(digits[-1]) > 9:
        raise ValueError(f"{path}: no frame number can be read from {image['file_name']}")
    return int(digits[-1])


def _from_annotations(value: dict, path: Path, frames: dict[int, int], images: list) -> Tracks:
    categories = {one["id"]: one for one in value["categories"]}
    annotations = _known(value["annotations"])
    owners = _owners(annotations, categories, path, frames)
    points: dict[tuple[str, str], int] = {}
    if not any(one.get("track_id") is not None for one in annotations):
        for key, category in categories.items():
            of_it = [who for one, who in zip(annotations, owners) if one["category_id"] == key]
            for owner in dict.fromkeys(of_it or [str(category["name"])]):
                for name in category["keypoints"]:
                    points.setdefault((owner, str(name)), len(points))
    rows = []
    for one, owner in zip(annotations, owners):
        names = categories[one["category_id"]]["keypoints"]
        where = [points.setdefault((owner, str(name)), len(points)) for name in names]
        rows.append((frames[one["image_id"]], where, one["keypoints"]))
    length = max(frames.values(), default=-1) + 1
    xy = empty_places(length, len(points), path)
    visible = np.zeros(xy.shape[:2], bool)
    for frame, where, flat in rows:
        triples = np.array(flat, np.float64).reshape(len(where), 3)
        xy[frame, where] = np.where(triples[:, 2:] > 0, triples[:, :2], np.nan)
        visible[frame, where] = triples[:, 2] == 2
    individuals = [owner for owner, _ in points]
    size = (int(images[0]["height"]), int(images[0]["width"])) if images else (0, 0)
    return make_tracks(
        xy,
        visible,
        names=[name for _, name in points],
        individuals=None if set(individuals) <= {ALONE} else individuals,
        size=size if all(size) else None,
    )


def _known(annotations: list[dict]) -> list[dict]:
    """Those with a track, or with a place; others, such as distant people, say nothing."""
    return [
        one for one in annotations if one.get("track_id") is not None or any(one["keypoints"][2::3])
    ]


def _owners(annotations: list[dict], categories: dict, path: Path, frames: dict) -> list[str]:
    """Whose each annotation is: its track's, or its category's, numbered where there are more."""
    pairs = []
    for one in annotations:
        track, name = one.get("track_id"), str(categories[one["category_id"]]["name"])
        pairs.append((frames[one["image_id"]], name if track is None else f"object{track}"))
    return number_repeated(pairs, path)
