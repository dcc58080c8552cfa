"""An object whose unpickling would leave a trace."""


class Bomb:
    """Unpickled, it would create the file it names."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))
