"""The folder of a run: what it is, where it stands, and how it goes on."""
