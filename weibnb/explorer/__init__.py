"""The linked widget: state in, charts out.

`widget` is the explorer, `widgets` its parts alone, `linked` what all are made of: their `state`
decides the `drawing` of the `parts` that `filters` select, by `panels`. `content` and `table` send
it with `labels` and numbers of `matrices` to the page in `static`, `page_counts` what this fits by
itself; `saving` writes it as `export`, `saved_page` (with `made_again`) or `python_code`, `views`
keep it; `refitting` takes long, and `growing` is a widget that takes newer fits by `following`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "content",
        "drawing",
        "export",
        "filters",
        "following",
        "growing",
        "labels",
        "linked",
        "made_again",
        "matrices",
        "page_counts",
        "panels",
        "parts",
        "python_code",
        "refitting",
        "saved_page",
        "saving",
        "state",
        "table",
        "views",
        "widget",
        "widgets",
    ],
    submod_attrs={"widget": ["Explorer"]},
)
