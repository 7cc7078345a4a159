"""The files that an audit leaves behind: a module for each format, the page for people, the signature."""
