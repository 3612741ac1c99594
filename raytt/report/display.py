"""Registers the views of all results; imported by whatever makes results for a reader."""

from raytt.report import rows, terminal, validation_table
from raytt.results.display import View, show_with
from raytt.results.ranking import Ranking
from raytt.results.validation import Validation

show_with(Ranking, View(rich=terminal.render, plain=terminal.plain, html=rows.fragment))
show_with(Validation, View(rich=validation_table.render, plain=validation_table.plain))
