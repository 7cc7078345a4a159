"""The version, which artifacts and results carry."""

VERSION = "0.1.0"
