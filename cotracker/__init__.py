"""CoTracker built anew. The front door: load_tracker(name_or_path), and the nouns Tracks, Clip."""

__version__ = "0.1.0"
