"""The HTML pages: Python prepares what they show, the templates hold the markup.

`page` makes report.html and `compare_page` compare.html, each in a template of that name;
`defect_jax.deploy.gallery` makes gallery.html from the same parts.
"""
