"""How files and folders from outside are opened: one rule for every reader."""
