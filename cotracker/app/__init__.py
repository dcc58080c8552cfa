"""The web page of `cotracker app`: desks hold what people do, page.py alone knows gradio."""
