"""The tour: a page that shows what can be learned about one network and one image."""
