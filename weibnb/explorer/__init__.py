"""The linked widget: state in, charts out.

`widget` is the explorer, `widgets` its parts alone, `linked` what all are made of: their `state`
decides the `drawing` of the `parts` that `filters` select, by the charts of `panels`. `content`
sends it with the words of `labels` to the page in `static`, `saving` writes it as `export` or
`python_code`, `views` keep states, `following` takes newer fits over while they are made.
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
        "labels",
        "linked",
        "panels",
        "parts",
        "python_code",
        "saving",
        "state",
        "views",
        "widget",
        "widgets",
    ],
    submod_attrs={"widget": ["Explorer"]},
)
