"""Results for people: tables on the terminal, and one self-contained page.

=================  ============================================================================
file               what it does
=================  ============================================================================
evaluate.py        score a model and its base on a split (loads torch)
comparison.py      base against adapted, measure by measure, with intervals and the paired test
formatting.py      numbers as people read them; ratios become per cent here
lines.py           which lines are shown, and their alignment
tables.py          the terminal: ``show_evaluation``, ``show_run``, ``score_table``
drawing.py         what every drawing shares: colours, style, SVG that stands in a page
fonts.py           which installed fonts cover a text
plots.py           learning curves and groups as SVG in the page's own colours
html.py            ``write_report``: report.html, from templates/
compare/           runs side by side: ``compare``, its table, figures and page
model_card.py      ``write_model_card``: README.md of a run, with the Hub's metadata
=================  ============================================================================
"""
