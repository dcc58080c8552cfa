"""CoTracker2: CoTracker whose points see each other through virtual tracks: cost linear in points.

It differs from CoTracker by this alone (VirtualExchange in transformer.py), so it is a CoTracker
with these settings.  Points that are not queried yet are hidden from the others in both.
"""

COTRACKER2 = {"virtual_tracks": 64}

V2_COMPAT = COTRACKER2 | {  # what the published code does, for published weights alone
    "neighbourhood": "square",  # 7 x 7 = 196 values a frame
    "radius": 3,
    "linear_motion_waves": True,  # see v1_compat.py, as for the next
    "repeat_last_frame": True,
    "predict_copies": True,  # the mask of those copies says that they are to be predicted
    "corr_border": True,  # beyond a map the correlation reads its border
    "position_table": (96, 128),  # the position code is that of maps of 384 x 512 pixels
}
