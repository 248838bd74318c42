"""The loop: events in, better champions out. Reading the modules in design order follows the data."""

__version__ = "0.1.0"
