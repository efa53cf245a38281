"""Pictures and the page of an evaluation: the only package that draws."""
