"""One dialect for everything behind it: models of any exporter and opset are written anew in it."""
