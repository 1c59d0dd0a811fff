"""The HTML pages: report.html, compare.html and the parts of gallery.html; plots and templates."""
