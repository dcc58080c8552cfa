"""Tracks while frames come, as from a camera: VIDEO."""

import sys

import cotracker

if len(sys.argv) != 2:
    sys.exit(__doc__)
video = cotracker.open_video(sys.argv[1])
height, width = video.shape[-2:]
tracker = cotracker.load_tracker(resolution=(192, 256), direction="forward", points_at_once=None)
stream = tracker.stream([[0, width / 2, height / 2], [0, width / 4, height / 4]])
for number in range(video.shape[1]):
    result = stream.push(video[:, number : number + 1])
    x, y = result.xy[-1, 0].tolist()  # the newest frame, the first point
    print(f"frame {int(result.frames[-1])}: {x:.1f} {y:.1f} {bool(result.visible[-1, 0])}")
result = stream.flush()
print(f"final up to frame {int(result.frames[-1])}")
